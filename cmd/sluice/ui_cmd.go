package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api/client"
)

func newUICommand(a *app) *cobra.Command {
	var show bool
	command := &cobra.Command{
		Use:   "ui [ID]",
		Short: "Open the web page of the server, or of one thing",
		Long: `Open the web page of the server in a browser, or that of a flow run, deployment, work queue or flow, by its id, a unique prefix
of it, or its name. Where no browser can be opened, and with --show-url, its address is printed.`,
		Example: "  sluice ui\n  sluice ui tan-lion\n  sluice ui my-flow/nightly --show-url",
		Args:    cobra.MaximumNArgs(1),
	}
	command.Flags().BoolVar(&show, "show-url", false, "only print the address")
	command.RunE = func(command *cobra.Command, args []string) error {
		ctx := command.Context()
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		if err := c.Health(ctx); err != nil {
			return err
		}
		page := pageBase(c)
		if len(args) == 1 {
			path, err := pageOf(ctx, c, args[0])
			if err != nil {
				return err
			}
			page += path
		}
		if a.structured() || a.quiet {
			return a.printObject(map[string]string{"url": page}, page, page)
		}
		if !show && a.outTTY && a.environment["SSH_CONNECTION"] == "" && openBrowser(ctx, page) == nil {
			a.say("Opened %s", page)
			return nil
		}
		a.say("%s", page)
		return nil
	}
	return command
}

// pageBase is where the server's pages lie, with a slash at the end.
func pageBase(c *client.Client) string {
	return strings.TrimSuffix(strings.TrimSuffix(c.Address(), "/"), "/api") + "/"
}

// pageOf is the path of the page of something, below the base.
func pageOf(ctx context.Context, c *client.Client, ref string) (string, error) {
	for _, kind := range []struct {
		page string
		find func() (string, error)
	}{
		{"runs", func() (string, error) {
			r, err := findFlowRun(ctx, c, ref)
			if err != nil {
				return "", err
			}
			return r.ID.String(), nil
		}},
		{"deployments", func() (string, error) {
			d, err := findDeployment(ctx, c, ref)
			if err != nil {
				return "", err
			}
			return d.ID.String(), nil
		}},
		{"queues", func() (string, error) {
			q, err := findWorkQueue(ctx, c, ref)
			if err != nil {
				return "", err
			}
			return q.ID.String(), nil
		}},
		{"flows", func() (string, error) {
			f, err := findFlow(ctx, c, ref)
			if err != nil {
				return "", err
			}
			return f.ID.String(), nil
		}},
	} {
		id, err := kind.find()
		if err == nil {
			return kind.page + "/" + id, nil
		}
		if judge(err).code != exitNotFound {
			return "", err
		}
	}
	return "", notFoundf("sluice flow-run ls", "there is no flow run, deployment, work queue or flow '%s'", ref)
}

// openBrowser shows a page in the user's browser.
func openBrowser(ctx context.Context, page string) error {
	program := map[string][]string{"darwin": {"open"}, "windows": {"rundll32", "url.dll,FileProtocolHandler"}}[runtime.GOOS]
	if program == nil {
		program = []string{"xdg-open"}
	}
	if _, err := exec.LookPath(program[0]); err != nil {
		return errors.New("no browser can be opened")
	}
	if err := exec.CommandContext(ctx, program[0], append(program[1:], page)...).Run(); err != nil {
		return fmt.Errorf("open the browser: %w", err)
	}
	return nil
}
