package agent

import (
	"slices"
	"testing"
)

func TestFlowsInheritNothingThatIsTheAgentsAlone(t *testing.T) {
	t.Parallel()
	got := inherited([]string{"HOME=/home/a", "SLUICE_SECRETS_KEY=key", "SLUICE_BOOTSTRAP_TOKEN=token", "SLUICE_SECRETS_KEY_FILE=/k", "SLUICE_BOOTSTRAP_TOKEN_FILE=/t",
		"SLUICE_GOSSIP_KEY_FILE=/g", "SLUICE_TLS_KEY=/n", "SLUICE_HTTP_TLS_KEY=/h", "SLUICE_LEASE_TOKEN=1-1", "NOTIFY_SOCKET=/run/n", "LANG=C=D"}).list()
	if want := []string{"HOME=/home/a", "LANG=C=D"}; !slices.Equal(got, want) {
		t.Errorf("flows get %q, want %q", got, want)
	}
}
