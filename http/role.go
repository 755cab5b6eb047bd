package httpapi

import (
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/row"
)

// Role is what a caller may do; each role may do everything the ones before it may. What is secret is an exception: see
// exchange.seesSecrets.
type Role uint8

// The roles. Tokens have the last five but RoleFlowRun, which is what the process of a flow run has under its lease.
const (
	RolePublic   Role = iota // no credentials needed
	RoleViewer               // read everything that is not secret
	RoleFlowRun              // report states, task runs and logs, start subflow runs, use the built-in store, read storages
	RoleAgent                // claim runs and execute them
	RoleOperator             // run deployments, cancel, pause, delete runs, manage work queues and limits
	RoleDeployer             // change what is run: deployments, blocks, flow code
	RoleAdmin                // tokens, audit, membership, snapshots, whole flows, the default storage
)

var roleNames = [...]string{"public", "viewer", "flow-run", "agent", "operator", "deployer", "admin"}

// tokenRoles are the roles that tokens have, by the name in the API.
var tokenRoles = map[row.TokenRole]Role{
	row.TokenRole_VIEWER: RoleViewer, row.TokenRole_AGENT: RoleAgent, row.TokenRole_OPERATOR: RoleOperator,
	row.TokenRole_DEPLOYER: RoleDeployer, row.TokenRole_ADMIN: RoleAdmin,
}

// String returns the role's name.
func (r Role) String() string { return roleNames[r] }

// seesBlock reports whether the caller may see blocks of that spec in clear. A flow uses storages through its agent, so that its code
// never gets their credentials; other blocks are settings for its code.
func (x *exchange) seesBlock(spec *row.BlockSpec) bool {
	if x.who.role == RoleFlowRun && spec.GetType() == api.BlockTypeStorage {
		return false
	}
	return x.seesSecrets()
}

// seesSecrets reports whether the caller may see in clear what blocks and the environments of flow runners hold: those who execute flows need it, those who write the
// code that agents execute could read it anyway. An operator runs only what others wrote.
func (x *exchange) seesSecrets() bool {
	switch x.who.role {
	case RoleFlowRun, RoleAgent, RoleDeployer, RoleAdmin:
		return true
	}
	return false
}
