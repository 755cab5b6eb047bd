package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/flow/internal/engine"
)

// Shown is what Artifact shows: a Table, a text in Markdown or a Link.
type Shown struct {
	kind        api.ArtifactType
	data        any
	description string
}

// Table shows rows: structs or maps, each of which is an object in JSON.
func Table[R any](rows []R) Shown {
	if rows == nil {
		rows = []R{}
	}
	return Shown{kind: api.ArtifactTable, data: rows}
}

// Markdown shows a text in Markdown.
func Markdown(text string) Shown { return Shown{kind: api.ArtifactMarkdown, data: text} }

// Link shows a link to an http or https address. text "" is the address.
func Link(url, text string) Shown {
	if text == "" {
		text = url
	}
	return Shown{kind: api.ArtifactLink, data: map[string]string{"url": url, "text": text}}
}

// Described adds a sentence about what is shown.
func (s Shown) Described(text string) Shown {
	s.description = text
	return s
}

// Artifact shows something with the flow run, or task run, that ctx belongs to. Artifacts of several runs with one key are versions of
// one thing. The data may have 256 KiB as JSON. Outside of a run nothing is shown, and nothing fails.
func Artifact(ctx context.Context, key string, shown Shown) error {
	data, err := json.Marshal(shown.data)
	if err != nil {
		return fmt.Errorf("artifact %q: %w", key, err)
	}
	if shown.kind == "" {
		return errors.New("flow.Artifact shows a flow.Table, flow.Markdown or flow.Link")
	}
	if len(data) > api.ArtifactLimit {
		return fmt.Errorf("artifact %q has %d bytes, the limit is %d: put large data into a storage and show a link", key, len(data), api.ArtifactLimit)
	}
	return engine.Show(ctx, api.ArtifactCreate{Key: key, Type: shown.kind, Description: shown.description, Data: data})
}
