package httpapi

import (
	"net/http"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/http/internal/body"
)

// orionVersion is what Orion's clients expect of /admin/version.
const orionVersion = "2.0b4"

// adminVersion answers a strict client the version of Orion whose API this is, everybody else Sluice's own.
func adminVersion(s *Server, x *exchange) error {
	version := s.version
	if x.strict || version == "" {
		version = orionVersion
	}
	x.out = body.AppendString(x.out, version)
	return x.send(http.StatusOK)
}

// adminSettings answers the settings that hold here under Orion's names; who is not strict also gets this node's own. None of them is
// a secret.
func adminSettings(s *Server, x *exchange) error {
	all := map[string]any{
		"PREFECT_ORION_API_DEFAULT_LIMIT": api.MaxPage,
		"PREFECT_ORION_ANALYTICS_ENABLED": false,
		"PREFECT_ORION_UI_ENABLED":        true,
		"PREFECT_LOGGING_ORION_ENABLED":   true,
	}
	if !x.strict {
		for name, value := range s.settings {
			all[name] = value
		}
	}
	return x.sendJSON(http.StatusOK, all)
}

var confirmSpec = body.Parameters(body.Optional("confirm", body.Bool, func(v *bool) *bool { return v }))

// confirmed answers 400 without a body unless the request confirms what it asks for.
func (x *exchange) confirmed() (bool, error) {
	confirm := false
	if err := decode(x, confirmSpec, &confirm); err != nil {
		return false, err
	}
	if !confirm {
		x.WriteHeader(http.StatusBadRequest)
	}
	return confirm, nil
}

// createDatabase has nothing to do: a node that answers has its state.
func createDatabase(_ *Server, x *exchange) error {
	if good, err := x.confirmed(); err != nil || !good {
		return err
	}
	return x.empty()
}

// clearDatabase refuses: one request must not destroy what a cluster keeps safe.
func clearDatabase(_ *Server, x *exchange) error {
	if good, err := x.confirmed(); err != nil || !good {
		return err
	}
	return &failure{
		status: http.StatusForbidden, kind: api.KindForbidden, detail: "This server does not delete everything on one request.",
		hint: "Delete what is not needed, a flow with all of its runs with `sluice flow delete`; to begin anew, stop the nodes and remove their data directories.",
	}
}
