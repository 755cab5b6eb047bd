package httpapi

import "testing"

func TestSecretsAreForThoseWhoExecuteOrWriteCode(t *testing.T) {
	t.Parallel()
	for role, want := range map[Role]bool{
		RolePublic: false, RoleViewer: false, RoleFlowRun: true, RoleAgent: true, RoleOperator: false, RoleDeployer: true, RoleAdmin: true,
	} {
		x := &exchange{who: actor{role: role}}
		if got := x.seesSecrets(); got != want {
			t.Errorf("%s sees secrets: %t, want %t", role, got, want)
		}
	}
}
