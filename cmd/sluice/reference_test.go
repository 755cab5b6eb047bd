package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestTheReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	const path = "../../docs/cli.md"
	got := reference(emptyTree())
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("docs/cli.md is not what the commands say: go test ./cmd/sluice -run TestTheReferenceIsCurrent -rewrite")
	}
}

// reference is the command line as a document in Markdown: docs/cli.md, which a test keeps current.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Command line\n\nWritten by `go test ./cmd/sluice -run TestTheReferenceIsCurrent -rewrite` from the commands themselves.\n\n")
	b.WriteString("Every command takes these flags:\n\n```\n" + flagLines(root.PersistentFlags()) + "```\n\n")
	topics := []*cobra.Command{}
	for _, child := range root.Commands() {
		if !child.Runnable() {
			topics = append(topics, child)
			continue
		}
		describe(&b, child)
	}
	for _, topic := range topics {
		if topic.Name() != "help" {
			fmt.Fprintf(&b, "## %s\n\n%s\n\n", topic.Name(), fenced(topic.Long))
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func describe(b *strings.Builder, command *cobra.Command) {
	if command.Hidden || command.Name() == "help" {
		return
	}
	level := "###"
	if !command.Parent().HasParent() {
		level = "##"
	}
	line := strings.TrimSuffix(command.UseLine(), " [flags]")
	fmt.Fprintf(b, "%s %s\n\n%s\n\n", level, line, fenced(command.Long))
	if command.HasSubCommands() {
		for _, child := range command.Commands() {
			describe(b, child)
		}
		return
	}
	fmt.Fprintf(b, "```\n%s\n```\n\n", unindented(command.Example))
	if flags := flagLines(command.LocalNonPersistentFlags()); flags != "" {
		b.WriteString("```\n" + flags + "```\n\n")
	}
}

// fenced makes the indented parts of a help text code.
func fenced(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "<", "&lt;") }

func unindented(example string) string {
	lines := strings.Split(example, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}

// flagLines lists flags as help does, without the one that shows the help.
func flagLines(flags *pflag.FlagSet) string {
	shown := pflag.NewFlagSet("", pflag.ContinueOnError)
	shown.SortFlags = true
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" && flag.Name != "version" || flag.Value.Type() != "bool" {
			shown.AddFlag(flag)
		}
	})
	return shown.FlagUsages()
}
