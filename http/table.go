package httpapi

// routes is the whole API. Routes that stand above others of the same shape win: names before ids.
func routes() []*route {
	return []*route{
		get("/livez", RolePublic, livez).with(atRoot),
		get("/readyz", RolePublic, readyz).with(atRoot),
		get("/metrics", RolePublic, showMetrics).with(atRoot),
		get("/", RolePublic, frontPage).with(atRoot),

		get("/health", RolePublic, apiHealth).with(unversioned),
		get("/hello", RolePublic, apiHello),
		get("/admin/version", RoleViewer, adminVersion),
	}
}
