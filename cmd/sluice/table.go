package main

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// table draws rows in a box with a heavy header and a light body.
type table struct {
	title   string
	caption string
	columns []tableColumn
	rows    [][]string
	// maxWidth bounds the width; columns that fold are made narrower until it fits. 0 is without bound.
	maxWidth int
	colored  bool
}

type tableColumn struct {
	header string
	right  bool   // right-aligned
	fold   bool   // may be broken into several lines
	sgr    string // colour of the cells
}

// minFold is the narrowest a folding column gets.
const minFold = 8

// ANSI colours.
const (
	sgrBold   = "\x1b[1m"
	sgrDim    = "\x1b[2m"
	sgrItalic = "\x1b[3m"
	sgrRed    = "\x1b[31m"
	sgrGreen  = "\x1b[32m"
	sgrYellow = "\x1b[33m"
	sgrBlue   = "\x1b[34m"
	sgrPurple = "\x1b[35m"
	sgrCyan   = "\x1b[36m"
	sgrReset  = "\x1b[0m"
)

func style(sgr, s string) string { return sgr + s + sgrReset }

func (t *table) paint(sgr, s string) string {
	if !t.colored || sgr == "" {
		return s
	}
	return style(sgr, s)
}

// render returns the table, each line ended.
func (t *table) render() string {
	widths := t.widths()
	total := 1
	for _, width := range widths {
		total += width + 3
	}
	var b strings.Builder
	if t.title != "" {
		b.WriteString(t.paint(sgrItalic, centred(t.title, total)) + "\n")
	}
	b.WriteString(ruler(widths, "┏", "━", "┳", "┓"))
	headers := make([]string, len(t.columns))
	for i, column := range t.columns {
		headers[i] = column.header
	}
	t.writeRow(&b, headers, widths, "┃", true)
	b.WriteString(ruler(widths, "┡", "━", "╇", "┩"))
	for _, row := range t.rows {
		t.writeRow(&b, row, widths, "│", false)
	}
	b.WriteString(ruler(widths, "└", "─", "┴", "┘"))
	if t.caption != "" {
		b.WriteString(t.paint(sgrDim+sgrItalic, centred(t.caption, total)) + "\n")
	}
	return b.String()
}

// widths returns the width of each column's content.
func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	total := 1
	for i, column := range t.columns {
		widths[i] = runewidth.StringWidth(column.header)
		for _, row := range t.rows {
			for line := range strings.SplitSeq(row[i], "\n") {
				widths[i] = max(widths[i], runewidth.StringWidth(line))
			}
		}
		total += widths[i] + 3
	}
	for t.maxWidth > 0 && total > t.maxWidth {
		widest := -1
		for i, column := range t.columns {
			if column.fold && widths[i] > minFold && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break // nothing more to give: the terminal will wrap, ids stay whole
		}
		widths[widest]--
		total--
	}
	return widths
}

func (t *table) writeRow(b *strings.Builder, cells []string, widths []int, bar string, header bool) {
	lines := make([][]string, len(cells))
	height := 1
	for i, cell := range cells {
		lines[i] = folded(cell, widths[i])
		height = max(height, len(lines[i]))
	}
	for n := range height {
		for i, column := range t.columns {
			line := ""
			if n < len(lines[i]) {
				line = lines[i][n]
			}
			padding := strings.Repeat(" ", max(0, widths[i]-runewidth.StringWidth(line)))
			sgr := column.sgr
			if header {
				sgr = sgrBold
			}
			line = t.paint(sgr, line)
			if column.right {
				line = padding + line
			} else {
				line += padding
			}
			b.WriteString(bar + " " + line + " ")
		}
		b.WriteString(bar + "\n")
	}
}

// folded breaks a text into lines of at most width columns, at spaces where there are some.
func folded(s string, width int) []string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		for runewidth.StringWidth(line) > width {
			cut := len(runewidth.Truncate(line, width, ""))
			if space := strings.LastIndexByte(line[:cut], ' '); space > 0 {
				cut = space
			}
			if cut == 0 {
				break // a rune wider than the column
			}
			lines = append(lines, line[:cut])
			line = strings.TrimPrefix(line[cut:], " ")
		}
		lines = append(lines, line)
	}
	return lines
}

func centred(s string, width int) string {
	return strings.Repeat(" ", max(0, (width-runewidth.StringWidth(s))/2)) + s
}

func ruler(widths []int, left, line, cross, right string) string {
	parts := make([]string, len(widths))
	for i, width := range widths {
		parts[i] = strings.Repeat(line, width+2)
	}
	return left + strings.Join(parts, cross) + right + "\n"
}
