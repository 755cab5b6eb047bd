package httpapi

import (
	"net/http"
	"strings"
)

// Role is what a caller may do; each role may do everything the ones before it may.
type Role uint8

// The roles.
const (
	RolePublic   Role = iota // no credentials needed
	RoleViewer               // read
	RoleAgent                // claim, report states and logs, use the built-in store
	RoleOperator             // create and run deployments, work queues, limits
	RoleAdmin                // delete flows, change storage
)

var roleNames = [...]string{"public", "viewer", "agent", "operator", "admin"}

// String returns the role's name.
func (r Role) String() string { return roleNames[r] }

// actor is who makes a request.
type actor struct {
	name string
	role Role
}

// local is the one actor there is: whoever reaches the address. Tokens with roles take its place when they exist.
var local = actor{name: "local", role: RoleAdmin}

// authenticate names the caller. It also takes the lease token out of the request, wherever the client put it.
func authenticate(r *http.Request) (who actor, lease string) {
	if v := r.Header["X-Sluice-Lease"]; len(v) > 0 {
		lease = v[0]
	} else if v := r.Header["Authorization"]; len(v) > 0 {
		if token, ok := strings.CutPrefix(v[0], "Bearer lease:"); ok {
			lease = token
		}
	}
	return local, lease
}
