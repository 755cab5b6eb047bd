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
		Long: `Open the web page of the server in a browser, or that of a flow run, deployment, work queue, flow or task run, by its id, a
unique prefix of it, or its name. Where no browser can be opened, and with --show-url, its address is printed.`,
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
		if show {
			a.say("%s", page)
			return nil
		}
		a.showPage(ctx, page)
		return nil
	}
	return command
}

// showPage opens a page in the browser, or says its address where none can be opened.
func (a *app) showPage(ctx context.Context, page string) {
	if a.outTTY && a.environment["SSH_CONNECTION"] == "" && openBrowser(ctx, page) == nil {
		a.say("Opened %s", page)
		return
	}
	a.say("%s", page)
}

// openPage shows the page of something, by its path below the base.
func (a *app) openPage(ctx context.Context, c *client.Client, path string) error {
	if err := c.Health(ctx); err != nil { // so that the address is that of a node that answers
		return err
	}
	a.showPage(ctx, pageBase(c)+path)
	return nil
}

// notePage tells people on a terminal where the page of what they made is.
func (a *app) notePage(c *client.Client, path string) {
	if a.outTTY && !a.structured() {
		a.note("See it at %s", a.link(pageBase(c)+path))
	}
}

// link makes an address one that the terminal follows (OSC 8), where there is one with colours.
func (a *app) link(address string) string {
	if !a.colored() || !a.outTTY {
		return address
	}
	return "\x1b]8;;" + address + "\x1b\\" + address + "\x1b]8;;\x1b\\"
}

// onWeb gives a command that shows one thing the flag --web, which opens its page in place of that.
func onWeb(a *app, command *cobra.Command, find func(ctx context.Context, c *client.Client, ref string) (string, error)) *cobra.Command {
	var web bool
	command.Flags().BoolVar(&web, "web", false, "open its page in a browser instead; where that cannot be, say its address")
	shown := command.RunE
	command.RunE = func(command *cobra.Command, args []string) error {
		if !web {
			return shown(command, args)
		}
		c, err := a.connect(0)
		if err != nil {
			return err
		}
		path, err := find(command.Context(), c, args[0])
		if err != nil {
			return err
		}
		return a.openPage(command.Context(), c, path)
	}
	return command
}

func runPage(ctx context.Context, c *client.Client, ref string) (string, error) {
	r, err := findFlowRun(ctx, c, ref)
	if err != nil {
		return "", err
	}
	return "runs/" + r.ID.String(), nil
}

func deploymentPage(ctx context.Context, c *client.Client, ref string) (string, error) {
	d, err := findDeployment(ctx, c, ref)
	if err != nil {
		return "", err
	}
	return "deployments/" + d.ID.String(), nil
}

func queuePage(ctx context.Context, c *client.Client, ref string) (string, error) {
	q, err := findWorkQueue(ctx, c, ref)
	if err != nil {
		return "", err
	}
	return "queues/" + q.ID.String(), nil
}

func flowPage(ctx context.Context, c *client.Client, ref string) (string, error) {
	f, err := findFlow(ctx, c, ref)
	if err != nil {
		return "", err
	}
	return "flows/" + f.ID.String(), nil
}

func taskRunPage(ctx context.Context, c *client.Client, ref string) (string, error) {
	t, err := findTaskRun(ctx, c, ref)
	if err != nil {
		return "", err
	}
	return "runs/" + t.FlowRunID.String() + "/tasks/" + t.ID.String(), nil
}

// pageBase is where the server's pages lie, with a slash at the end.
func pageBase(c *client.Client) string {
	return strings.TrimSuffix(strings.TrimSuffix(c.Address(), "/"), "/api") + "/"
}

// pageOf is the path of the page of something, below the base.
func pageOf(ctx context.Context, c *client.Client, ref string) (string, error) {
	for _, find := range []func(context.Context, *client.Client, string) (string, error){runPage, deploymentPage, queuePage, flowPage, taskRunPage} {
		page, err := find(ctx, c, ref)
		if err == nil {
			return page, nil
		}
		if judge(err).code != exitNotFound {
			return "", err
		}
	}
	return "", notFoundf("sluice flow-run ls", "there is no flow run, deployment, work queue, flow or task run '%s'", ref)
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
