package httpapi

import "github.com/sluice-dev/sluice/http/openapi"

// Document is the description of the API in OpenAPI 3.1: what the files of package openapi say, and what the table of routes
// knows.
func Document() ([]byte, error) {
	table := routes()
	described := make([]openapi.Route, 0, len(table))
	for _, rt := range table {
		described = append(described, openapi.Route{
			Method: rt.method, Path: rt.fullPath(), Role: rt.role.String(), BodyLimit: rt.bodyLimit(), Unversioned: rt.anyVersion,
		})
	}
	return openapi.Document(described)
}

// fullPath is the path that clients ask for.
func (rt *route) fullPath() string {
	if rt.root {
		return rt.path
	}
	return "/api" + rt.path
}

func showDocument(s *Server, x *exchange) error {
	document, err := s.document()
	if err != nil {
		return err
	}
	x.out = append(x.out, document...)
	return x.send(200)
}
