package agent

import (
	"slices"
	"testing"
)

func TestFlowsInheritNothingThatIsTheAgentsAlone(t *testing.T) {
	t.Parallel()
	got := inherited([]string{"HOME=/home/a", "SLUICE_SECRETS_KEY=key", "SLUICE_BOOTSTRAP_TOKEN=token", "SLUICE_LEASE_TOKEN=1-1", "NOTIFY_SOCKET=/run/n", "LANG=C=D"}).list()
	if want := []string{"HOME=/home/a", "LANG=C=D"}; !slices.Equal(got, want) {
		t.Errorf("flows get %q, want %q", got, want)
	}
}
