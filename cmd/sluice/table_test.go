package main

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
)

func queueTable() table {
	return table{
		title:   "Work Queues",
		caption: "(**) denotes a paused queue",
		columns: []tableColumn{{header: "ID", right: true}, {header: "Name", fold: true}, {header: "Concurrency Limit"}},
		rows:    [][]string{{"3461754d-e411-4155-9bc7-a0145b6974a0", "tutorial_queue", "None"}},
	}
}

func TestTablesLookAsInTheTutorial(t *testing.T) {
	t.Parallel()
	deployments := table{
		title:   "Deployments",
		columns: []tableColumn{{header: "Name", fold: true}, {header: "ID"}},
		rows:    [][]string{{"leonardo_dicapriflow/leonardo-deployment", "56d73de0-cb29-4647-8e30-89eebd3033e6"}},
	}
	const wantDeployments = `                                    Deployments
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
┃ Name                                     ┃ ID                                   ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┩
│ leonardo_dicapriflow/leonardo-deployment │ 56d73de0-cb29-4647-8e30-89eebd3033e6 │
└──────────────────────────────────────────┴──────────────────────────────────────┘
`
	if got := deployments.render(); got != wantDeployments {
		t.Errorf("got\n%s\nwant\n%s", got, wantDeployments)
	}
	const wantQueues = `                                 Work Queues
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━┓
┃                                   ID ┃ Name           ┃ Concurrency Limit ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━┩
│ 3461754d-e411-4155-9bc7-a0145b6974a0 │ tutorial_queue │ None              │
└──────────────────────────────────────┴────────────────┴───────────────────┘
                         (**) denotes a paused queue
`
	queues := queueTable()
	if got := queues.render(); got != wantQueues {
		t.Errorf("got\n%s\nwant\n%s", got, wantQueues)
	}
}

func TestNarrowTerminalsFoldColumnsAndLeaveIDsWhole(t *testing.T) {
	t.Parallel()
	wide := queueTable()
	wide.rows[0][1] = "a queue with a long name and 日本語 letters"
	for _, width := range []int{120, 80, 76, 40} {
		wide.maxWidth = width
		rendered := wide.render()
		if !strings.Contains(rendered, wide.rows[0][0]) {
			t.Errorf("the id is broken at %d columns:\n%s", width, rendered)
		}
		var joined []string
		for line := range strings.SplitSeq(rendered, "\n") {
			if n := runewidth.StringWidth(line); n > max(width, 71) { // 71: the ids with the narrowest column beside
				t.Errorf("%d columns in a terminal of %d:\n%s", n, width, line)
			}
			if cells := strings.Split(line, "│"); len(cells) > 2 {
				joined = append(joined, strings.TrimSpace(cells[2]))
			}
		}
		if got := strings.ReplaceAll(strings.Join(joined, ""), " ", ""); got != strings.ReplaceAll(wide.rows[0][1], " ", "") {
			t.Errorf("the name became %q at %d columns", got, width)
		}
	}
}

func TestColourDoesNotChangeTheLayout(t *testing.T) {
	t.Parallel()
	plain, colored := queueTable(), queueTable()
	colored.colored = true
	colored.columns[0].sgr = sgrCyan
	rendered := colored.render()
	if !strings.Contains(rendered, sgrCyan+"3461754d") {
		t.Errorf("no colour in\n%s", rendered)
	}
	for _, code := range []string{sgrBold, sgrDim, sgrItalic, sgrCyan, sgrReset} {
		rendered = strings.ReplaceAll(rendered, code, "")
	}
	if rendered != plain.render() {
		t.Errorf("without its colours it is\n%s", rendered)
	}
}

func TestAnEmptyTableHasOnlyItsHeader(t *testing.T) {
	t.Parallel()
	empty := queueTable()
	empty.rows, empty.title, empty.caption = nil, "", ""
	if lines := strings.Count(empty.render(), "\n"); lines != 4 {
		t.Errorf("%d lines:\n%s", lines, empty.render())
	}
}
