package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newAPICommand(a *app) *cobra.Command {
	var data string
	command := &cobra.Command{
		Use:   "api METHOD PATH",
		Short: "Send a request to the API and print the answer",
		Long: `Send a request to the API of the active profile, with its token, and print the answer as it comes: JSON indented, streams line
by line. The path is what follows /api. "sluice api GET /openapi.json" is the description of all endpoints.

--data is the body: JSON, @FILE, or - for the standard input.`,
		Example: `  sluice api GET /cluster
  sluice api POST /flow_runs/filter --data '{"limit":1}'
  sluice api GET '/events?topic=flow_run'`,
		Args: cobra.ExactArgs(2),
	}
	methods := []string{"GET", "POST", "PATCH", "PUT", "DELETE"}
	command.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return methods, cobra.ShellCompDirectiveNoFileComp
	}
	command.Flags().StringVarP(&data, "data", "d", "", "body of the request")
	command.RunE = func(command *cobra.Command, args []string) error {
		method, path := strings.ToUpper(args[0]), "/"+strings.TrimLeft(args[1], "/")
		if !slices.Contains(methods, method) {
			return usagef("the method is '%s'; it is one of %s", args[0], strings.Join(methods, ", "))
		}
		if path = strings.TrimPrefix(path, "/api"); !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		body, err := a.requestBody("data", data, command.Flags().Changed("data"))
		if err != nil {
			return err
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		defer c.Close()
		response, err := c.Open(command.Context(), method, path, body)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		defer response.Body.Close()
		if !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
			_, err := io.Copy(a.out, response.Body)
			return err
		}
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return fmt.Errorf("read the answer to %s %s: %w", method, path, err)
		}
		return a.printAnswer(text)
	}
	return command
}

// requestBody reads what --data says: nil without it.
func (a *app) requestBody(flag, data string, given bool) ([]byte, error) {
	switch {
	case !given:
		return nil, nil
	case data == "-":
		return io.ReadAll(a.in)
	case strings.HasPrefix(data, "@"):
		return os.ReadFile(data[1:])
	}
	if !json.Valid([]byte(data)) {
		return nil, usagef("--%s is no JSON: %s", flag, data)
	}
	return []byte(data), nil
}

// printAnswer prints JSON in the format asked for.
func (a *app) printAnswer(text []byte) error {
	switch a.output {
	case formatJSONL:
		var list []json.RawMessage
		if json.Unmarshal(text, &list) != nil {
			list = []json.RawMessage{text}
		}
		for _, item := range list {
			if err := a.printJSONLine(item); err != nil {
				return err
			}
		}
		return nil
	case formatYAML:
		return a.printDocument(formatYAML, json.RawMessage(text))
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "    "); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	indented.WriteByte('\n')
	_, err := a.out.Write(indented.Bytes())
	return err
}
