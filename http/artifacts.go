package httpapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
	"github.com/sluice-dev/sluice/http/internal/body"
)

var artifactTypes = []api.ArtifactType{api.ArtifactTable, api.ArtifactMarkdown, api.ArtifactLink}

var artifactTypeKind = body.Enum([]string{"table", "markdown", "link"}, []row.Artifact_Type{row.Artifact_TABLE, row.Artifact_MARKDOWN, row.Artifact_LINK})

// longestArtifactKey bounds the bytes of an artifact's key, longestDescription those of its description.
const (
	longestArtifactKey = 255
	longestDescription = 4096
)

var artifactSpec = body.Strict(
	body.Required("key", body.Name, func(v *row.Artifact) *string { return &v.Key }),
	body.Required("type", artifactTypeKind, func(v *row.Artifact) *row.Artifact_Type { return &v.Type }),
	body.Nullable("description", body.Text, func(v *row.Artifact) *string { return &v.Description }),
	body.Required("data", body.Raw, func(v *row.Artifact) *[]byte { return &v.DataJson }),
	body.Required("flow_run_id", body.UUIDBytes, func(v *row.Artifact) *[]byte { return &v.FlowRunId }),
	body.Nullable("task_run_id", body.UUIDBytes, func(v *row.Artifact) *[]byte { return &v.TaskRunId }),
).Check(func(d *body.Decoder, v *row.Artifact) bool {
	for _, bound := range []struct {
		field       string
		bytes, most int
	}{{"key", len(v.Key), longestArtifactKey}, {"description", len(v.Description), longestDescription}, {"data", len(v.DataJson), api.ArtifactLimit}} {
		if bound.bytes > bound.most {
			d.FailAt(bound.field, fmt.Sprintf("value has %d bytes, the limit is %d", bound.bytes, bound.most), "value_error.too_large")
			return false
		}
	}
	if problem := wrongArtifact(v); problem != "" {
		d.FailAt("data", problem, "value_error")
		return false
	}
	return true
})

// wrongArtifact says why data is not what its type shows; "" when it is.
func wrongArtifact(v *row.Artifact) string {
	switch v.Type {
	case row.Artifact_TABLE:
		var rows []map[string]json.RawMessage
		if json.Unmarshal(v.DataJson, &rows) != nil || slices.ContainsFunc(rows, func(r map[string]json.RawMessage) bool { return r == nil }) {
			return "a table is a list of objects"
		}
	case row.Artifact_MARKDOWN:
		var text string
		if json.Unmarshal(v.DataJson, &text) != nil {
			return "markdown is a text"
		}
	case row.Artifact_LINK:
		var link struct {
			URL  string `json:"url"`
			Text string `json:"text"`
		}
		if json.Unmarshal(v.DataJson, &link) != nil {
			return "a link is an object with url and text"
		}
		// Pages show links: one that runs something there is none.
		if parsed, err := url.Parse(link.URL); err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
			return "the url of a link begins with http:// or https://"
		}
	}
	return ""
}

// createArtifact stores what a flow run shows.
func createArtifact(_ *Server, x *exchange) error {
	made := &row.Artifact{Id: newID()}
	if err := decode(x, artifactSpec, made); err != nil {
		return err
	}
	e := x.envelope()
	e.Command = &command.Envelope_CreateArtifact{CreateArtifact: &command.CreateArtifact{Artifact: made}}
	return x.proposeObject(e, missing.flowRun, "", func(view *state.View, r *command.Result) error {
		stored, err := view.Artifact(idOf(r.Id))
		return x.answerArtifact(created(r), stored, err)
	})
}

func (x *exchange) answerArtifact(status int, r *row.Artifact, err error) error {
	switch {
	case err != nil:
		return err
	case r == nil:
		return notFound("Artifact not found")
	}
	if x.out, err = appendJSON(x.out, artifactObject(r, true)); err != nil {
		return err
	}
	return x.send(status)
}

func artifactObject(r *row.Artifact, data bool) api.Artifact {
	o := api.Artifact{ID: idOf(r.Id), Created: timeOf(r.Created), Key: r.Key, Description: r.Description, Size: len(r.DataJson), FlowRunID: idOf(r.FlowRunId), TaskRunID: idRef(r.TaskRunId)}
	if int(r.Type) < len(artifactTypes) {
		o.Type = artifactTypes[r.Type]
	}
	if data {
		o.Data = r.DataJson
	}
	return o
}

var readArtifact = readsOne(func(x *exchange, view *state.View, id api.ID) error {
	r, err := view.Artifact(id)
	return x.answerArtifact(200, r, err)
})

// readLatestArtifact answers the newest artifact of a key.
var readLatestArtifact = reads(func(x *exchange, view *state.View) error {
	var latest *row.Artifact
	err := view.ArtifactsOfKey(x.path("key"), func(r *row.Artifact) (bool, error) {
		latest = r
		return false, nil
	})
	return x.answerArtifact(200, latest, err)
})

type artifactFilter struct {
	page
	run  []byte
	key  string
	data bool
}

var artifactFilterSpec = body.Parameters(
	body.Optional("offset", offset, func(v *artifactFilter) *int64 { return &v.offset }),
	body.Optional("limit", body.Int, func(v *artifactFilter) *int64 { return &v.limit }),
	body.Optional("flow_run_id", body.UUIDBytes, func(v *artifactFilter) *[]byte { return &v.run }),
	body.Optional("key", body.Text, func(v *artifactFilter) *string { return &v.key }),
	body.Optional("with_data", body.Bool, func(v *artifactFilter) *bool { return &v.data }),
)

func filterArtifacts(_ *Server, x *exchange) error {
	in := artifactFilter{page: newPage()}
	if err := decode(x, artifactFilterSpec, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	view, err := x.view()
	if err != nil {
		return err
	}
	defer view.Close()
	var found []*row.Artifact
	take := func(r *row.Artifact) (bool, error) {
		if in.key != "" && r.Key != in.key {
			return true, x.ctx.Err()
		}
		return takeFrom(&in.page, &found, r), x.ctx.Err()
	}
	switch {
	case len(in.run) > 0:
		err = view.ArtifactsOfRun(idOf(in.run), take)
	case in.key != "":
		err = view.ArtifactsOfKey(in.key, take)
	default:
		err = view.EachArtifact(take)
	}
	if err != nil {
		return err
	}
	return list(x, found, func(b []byte, r *row.Artifact) ([]byte, error) { return appendJSON(b, artifactObject(r, in.data)) })
}
