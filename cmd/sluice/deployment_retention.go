package main

import (
	"strconv"

	"github.com/spf13/pflag"

	"github.com/sluice-dev/sluice/api"
)

// asCluster is what takes a bound of a deployment back to the cluster's.
const asCluster = "cluster"

// retentionFlags say how long what a deployment's runs leave is kept.
type retentionFlags struct{ runsAge, runsCount, logsAge, logsCount string }

func (f *retentionFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.runsAge, "retention-runs-age", "", "keep finished runs so long, like 30d, forever, or cluster for what the cluster says")
	flags.StringVar(&f.runsCount, "retention-runs-count", "", "keep so many finished runs, none for any number, or cluster")
	flags.StringVar(&f.logsAge, "retention-logs-age", "", "keep the logs of runs so long, like 7d, forever, or cluster")
	flags.StringVar(&f.logsCount, "retention-logs-count", "", "keep the logs of so many runs, none for any number, or cluster")
}

// over lays the flags that were given over what a deployment says already. Absent: none were.
func (f *retentionFlags) over(d api.Deployment, given func(string) bool) (api.Optional[api.DeploymentRetention], error) {
	kept := api.DeploymentRetention{}
	if d.DeploymentNative != nil && d.Retention != nil {
		kept = *d.Retention
	}
	changed := false
	for _, part := range []struct {
		rule               **api.RetentionRule
		ageFlag, countFlag string
		age, count         string
	}{
		{&kept.Runs, "retention-runs-age", "retention-runs-count", f.runsAge, f.runsCount},
		{&kept.Logs, "retention-logs-age", "retention-logs-count", f.logsAge, f.logsCount},
	} {
		rule := api.RetentionRule{}
		if *part.rule != nil {
			rule = **part.rule
		}
		if given(part.ageFlag) {
			changed, rule.MaxAge = true, nil
			if part.age != asCluster {
				age, err := api.ParseAge(part.age)
				if err != nil {
					return api.Optional[api.DeploymentRetention]{}, usagef("--%s is '%s'; %v, or cluster", part.ageFlag, part.age, err)
				}
				rule.MaxAge = &age
			}
		}
		if given(part.countFlag) {
			changed, rule.MaxCount = true, nil
			if part.count != asCluster {
				count := int64(0)
				if part.count != unset {
					var err error
					if count, err = strconv.ParseInt(part.count, 10, 32); err != nil || count < 1 {
						return api.Optional[api.DeploymentRetention]{}, usagef("--%s is '%s'; it is a number from 1 on, none or cluster", part.countFlag, part.count)
					}
				}
				rule.MaxCount = &count
			}
		}
		*part.rule = nil
		if rule != (api.RetentionRule{}) {
			*part.rule = &rule
		}
	}
	switch {
	case !changed:
		return api.Optional[api.DeploymentRetention]{}, nil
	case kept == (api.DeploymentRetention{}):
		return api.Null[api.DeploymentRetention](), nil
	}
	return api.Some(kept), nil
}
