package api

import "encoding/json"

// Artifact is something that a flow run shows to people: a table, a text in Markdown or a link. It lives as long as its run. Artifacts of
// several runs with one key are versions of one thing; the latest counts.
type Artifact struct {
	ID          ID              `json:"id"`
	Created     Time            `json:"created"`
	Key         string          `json:"key"`
	Type        ArtifactType    `json:"type"`
	Description string          `json:"description"`
	Size        int             `json:"size"` // bytes of the data
	Data        json.RawMessage `json:"data"` // null in lists that do not ask for it
	FlowRunID   ID              `json:"flow_run_id"`
	TaskRunID   *ID             `json:"task_run_id"`
}

// ArtifactType says what the data of an artifact is.
type ArtifactType string

// The types of artifacts.
const (
	ArtifactTable    ArtifactType = "table"    // a list of objects
	ArtifactMarkdown ArtifactType = "markdown" // a text
	ArtifactLink     ArtifactType = "link"     // an object with url and text
)

// ArtifactLimit bounds the bytes of an artifact's data.
const ArtifactLimit = 256 << 10

// ArtifactCreate is the body of POST /artifacts/.
type ArtifactCreate struct {
	Key         string          `json:"key"`
	Type        ArtifactType    `json:"type"`
	Description string          `json:"description,omitempty"`
	Data        json.RawMessage `json:"data"`
	FlowRunID   ID              `json:"flow_run_id"`
	TaskRunID   *ID             `json:"task_run_id,omitempty"`
}

// ArtifactFilter is the body of POST /artifacts/filter. Answers are newest first.
type ArtifactFilter struct {
	FlowRunID *ID    `json:"flow_run_id,omitempty"`
	Key       string `json:"key,omitempty"`
	WithData  bool   `json:"with_data,omitempty"`
	Page
}
