package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-dev/sluice/agent"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
)

// serverOptions is what the flags of server start and dev say.
type serverOptions struct {
	DataDir         string
	HTTPAddr        string   // HOST:PORT of API, UI and metrics
	BasePath        string   // where a proxy has them
	InternalAddr    string   // HOST:PORT of Raft between nodes
	GossipAddr      string   // HOST:PORT of membership
	NodeName        string   // "" is the host's name
	BootstrapExpect int      // how many nodes make up the first configuration
	Join            []string // internal addresses of other nodes
	Advertise       string   // HOST:PORT of the internal port as other nodes reach it
	ClusterName     string
	TLSCA           string // files of the internal port's TLS
	TLSCert         string
	TLSKey          string
	GossipKeyFile   string
	Secrets         node.SecretKeys
	HTTPTLSCert     string // files of the API's TLS
	HTTPTLSKey      string
	Auth            string // on, off or auto
	Dev             bool   // everything on one machine for one person
	FirstTokenFile  string // holds the first token of a new cluster
	FirstToken      string // the same, or from the environment
	AllowOrigins    []string
	AuditKeep       int64
	AuditAge        time.Duration
	Home            string        // where the user's own commands learn of this server
	Insecure        bool          // plain text between nodes
	InsecureHTTP    bool          // an HTTP address that is not loopback without authentication
	Ephemeral       bool          // port chosen by the system, exits when unused
	DiskLowWater    int64         // bytes
	LogQuota        int64         // bytes of each flow run
	LogBytes        int64         // of the Raft log
	DrainDelay      time.Duration // how long a stopping node serves on
	Snapshots       node.SnapshotSchedule
	Retention       node.RetentionDefaults
	WebhookPrivate  bool // webhooks may reach private and loopback addresses
	Membership      cluster.MembershipPolicy
	Logger          *slog.Logger
	Clock           cluster.Clock           // nil is the machine's
	Settings        map[string]node.Setting // for the debug bundle
	// Ready is called once the node serves, with the base addresses that clients on this machine use.
	Ready func(apiURL, dashboardURL string)
}

// ageFlag is a flag that takes an age.
type ageFlag time.Duration

func (f *ageFlag) String() string { return api.Age(*f).String() }
func (f *ageFlag) Type() string   { return "age" }
func (f *ageFlag) Set(text string) error {
	age, err := api.ParseAge(text)
	*f = ageFlag(age)
	return err
}

// shortestDeath is the least --remove-dead-after: a node that is restarted must not be taken for dead.
const shortestDeath = time.Minute

// register adds the flags that server start and dev share.
func (o *serverOptions) register(a *app, flags *pflag.FlagSet) {
	flags.StringVar(&o.DataDir, "data-dir", "", "directory of the node's data (default "+filepath.Join("$SLUICE_HOME", "data")+")")
	flags.StringVar(&o.HTTPAddr, "http-addr", "127.0.0.1:4200", "HOST:PORT of API, dashboard and metrics")
	flags.StringVar(&o.BasePath, "base-path", "", "path at which a proxy has this server, like /sluice; requests are taken with and without it (a proxy that takes it off may send X-Forwarded-Prefix instead)")
	flags.Int64Var(&o.DiskLowWater, "disk-low-water", 256<<20, "free bytes of the disk below which logs are refused, at half of it new runs, at a quarter every write; not much below 64 MiB, which the store may take at once")
	flags.Int64Var(&o.LogQuota, "log-quota", 10<<20, "bytes of logs that a flow run may store, each line counting 64 beside its text: one line says that the others are dropped; the same on all nodes")
	flags.StringVar(&o.Secrets.File, "secrets-key-file", "", "file with the keys that encrypt secrets in blocks, 32 bytes in base64 a line, the same on all nodes; read again when it changes (default "+node.SecretsFile+" in the data directory; a single node makes it)")
	bindSetting(flags, "data-dir", "http-addr", "base-path", "disk-low-water", "log-quota", "secrets-key-file")
	flags.BoolVar(&o.WebhookPrivate, "webhook-allow-private", false, "let webhooks reach private and loopback addresses, the same on all nodes (dev always does)")
	flags.StringVar(&o.Auth, "auth", authAuto, "ask for tokens: on, off, or auto, which is on but for sluice dev on a loopback address; the same on all nodes")
	flags.StringVar(&o.FirstTokenFile, "bootstrap-token-file", "", "file with the first token of a new cluster, made by sluice token generate, the same on all nodes (default the first leader makes one in its data directory)")
	flags.StringSliceVar(&o.AllowOrigins, "allow-origin", nil, "origin of web pages that may use this server beside its own, like https://ui.example.com; * is all, as Orion has it")
	flags.Int64Var(&o.AuditKeep, "audit-keep", 200_000, "how many audit records are kept at most; the same on all nodes")
	flags.DurationVar(&o.AuditAge, "audit-age", 365*24*time.Hour, "how long audit records are kept; the same on all nodes")
	bindSetting(flags, "auth", "bootstrap-token-file", "allow-origin", "audit-keep", "audit-age")
	o.Retention = node.RetentionDefaults{RunsMaxAge: node.DefaultRetention, LogsMaxAge: node.DefaultRetention}
	flags.Var((*ageFlag)(&o.Retention.RunsMaxAge), "retention-runs-max-age", "how long a new cluster keeps finished runs, until \"sluice retention set\" says otherwise; its first leader's counts")
	flags.Var((*ageFlag)(&o.Retention.LogsMaxAge), "retention-logs-max-age", "how long a new cluster keeps logs, likewise")
	flags.DurationVar(&o.Retention.Every, "retention-interval", time.Minute, "how often the leader looks for what may go; the leader's counts")
	bindSetting(flags, "webhook-allow-private", "retention-runs-max-age", "retention-logs-max-age", "retention-interval")
}

func (o *serverOptions) registerCluster(flags *pflag.FlagSet) {
	flags.StringVar(&o.InternalAddr, "internal-addr", "127.0.0.1:4201", "HOST:PORT where the other nodes reach this one")
	flags.StringVar(&o.GossipAddr, "gossip-addr", "127.0.0.1:4202", "HOST:PORT of cluster membership")
	flags.StringVar(&o.NodeName, "node-name", "", "name of the node, unique in the cluster (default the host's name)")
	flags.StringVar(&o.Advertise, "internal-advertise", "", "HOST:PORT that other nodes use to reach --internal-addr (default that)")
	flags.StringVar(&o.ClusterName, "cluster-name", cluster.DefaultName, "name that keeps clusters on one network apart; part of the nodes' certificates")
	flags.IntVar(&o.BootstrapExpect, "bootstrap-expect", 0, "how many nodes found the cluster together, the same on all (default 1, with --join none)")
	flags.StringSliceVar(&o.Join, "join", nil, "internal addresses of other nodes, HOST or HOST:PORT, separated by commas; a name stands for all its addresses")
	flags.StringVar(&o.TLSCA, "tls-ca", "", "file with the certificate that signs the nodes' certificates")
	flags.StringVar(&o.TLSCert, "tls-cert", "", "file with this node's certificate")
	flags.StringVar(&o.TLSKey, "tls-key", "", "file with the key of --tls-cert")
	flags.StringVar(&o.GossipKeyFile, "gossip-key-file", "", "file with keys of 32 bytes in base64, one per line, the same on all nodes, that encrypt gossip; the first is used to send")
	flags.StringVar(&o.HTTPTLSCert, "http-tls-cert", "", "file with the certificate of the API at --http-addr, which is then HTTPS; read again when it changes")
	flags.StringVar(&o.HTTPTLSKey, "http-tls-key", "", "file with the key of --http-tls-cert")
	flags.DurationVar(&o.DrainDelay, "drain-delay", 5*time.Second, "how long a node that was told to stop serves on, not ready any more: longer than load balancers take to notice; a node without others does not wait")
	flags.Int64Var(&o.LogBytes, "raft-log-bytes", 256<<20, "bytes of the Raft log on disk; a node that fell further behind fetches the whole state; eight times as much while it does")
	flags.DurationVar(&o.Membership.RemoveDeadAfter, "remove-dead-after", 0, "how long a node is silent before the leader takes it out of the cluster, the same on all nodes; one at a time, while all others are well (default never)")
	flags.IntVar(&o.Membership.MinVoters, "min-voters", 3, "how many voters --remove-dead-after leaves at least, the same on all nodes")
	flags.BoolVar(&o.Insecure, "insecure", false, "plain text between nodes, for tests and one machine")
	flags.StringVar(&o.Snapshots.Dir, "snapshot-dir", "", "directory into which this node regularly saves a snapshot of the whole state; nodes may share it")
	flags.DurationVar(&o.Snapshots.Interval, "snapshot-interval", 6*time.Hour, "time from one snapshot in --snapshot-dir to the next")
	flags.IntVar(&o.Snapshots.Keep, "snapshot-keep", 8, "how many of this node's snapshots are kept in --snapshot-dir")
	bindSetting(flags, "snapshot-dir", "snapshot-interval", "snapshot-keep")
	flags.BoolVar(&o.InsecureHTTP, "insecure-http", false, "allow an HTTP address that is not loopback with --auth off")
	bindSetting(flags, "internal-addr", "internal-advertise", "gossip-addr", "gossip-key-file", "drain-delay", "node-name", "cluster-name", "bootstrap-expect", "join", "raft-log-bytes", "remove-dead-after", "min-voters",
		"tls-ca", "tls-cert", "tls-key", "http-tls-cert", "http-tls-key", "insecure", "insecure-http")
}

// complete fills in what depends on the process.
func (o *serverOptions) complete(a *app) error {
	if o.DataDir == "" {
		o.DataDir = filepath.Join(a.home(), "data")
	}
	o.Home = a.home()
	if err := o.completeAccess(a); err != nil {
		return err
	}
	switch {
	case o.DrainDelay < 0:
		return usagef("--drain-delay is %s; it must not be negative", o.DrainDelay)
	case o.Snapshots.Dir != "" && o.Snapshots.Interval < time.Second:
		return usagef("--snapshot-interval is %s; it is at least 1s", o.Snapshots.Interval)
	case o.Snapshots.Dir != "" && o.Snapshots.Keep < 1:
		return usagef("--snapshot-keep is %d; it is at least 1", o.Snapshots.Keep)
	case o.Membership.RemoveDeadAfter != 0 && o.Membership.RemoveDeadAfter < shortestDeath:
		return usagef("--remove-dead-after is %s; it is at least %s, longer than a node takes to start again, or 0 for never", o.Membership.RemoveDeadAfter, shortestDeath)
	case o.Membership.RemoveDeadAfter != 0 && o.Membership.MinVoters < 1:
		return usagef("--min-voters is %d; it is at least 1", o.Membership.MinVoters)
	case o.BootstrapExpect < 0:
		return usagef("--bootstrap-expect is %d; it is at least 1", o.BootstrapExpect)
	case o.BootstrapExpect == 0 && len(o.Join) == 0:
		o.BootstrapExpect = 1
	case o.BootstrapExpect == 1 && len(o.Join) > 0:
		return usagef("--bootstrap-expect 1 founds a cluster alone, --join finds another: leave one out, or expect as many nodes as found the cluster together")
	case o.BootstrapExpect > 1 && len(o.Join) == 0:
		return usagef("--bootstrap-expect %d needs --join with the internal address of at least one of the others", o.BootstrapExpect)
	}
	if o.Secrets.Text, _ = a.settings.lookup(settingSecretsKey); o.Secrets.Text != "" && o.Secrets.File != "" {
		return usagef("%s and --secrets-key-file are both set; leave one out", settingSecretsKey)
	}
	o.Settings = a.settings.tell()
	logger, err := a.logger()
	o.Logger, o.Clock = logger, a.serverClock()
	return err
}

func newServerCommand(a *app, name string) *cobra.Command {
	var options serverOptions
	start := &cobra.Command{
		Use:   "start",
		Short: "Start a node",
		Long: `Start one node of a cluster. Alone, it is a cluster of one. Several nodes found a cluster together when each is started
with --bootstrap-expect N and --join with the internal addresses of the others. The same command line starts a node again, and
starts further nodes, which join. Nodes talk over mutual TLS (sluice cluster tls init), or with --insecure in plain text.

SIGTERM and Ctrl-C drain the node: /readyz says no, another node takes the leadership, long polls and streams end, and for
--drain-delay it serves on while load balancers notice. A second signal stops it at once.

With --ephemeral the node chooses its port, prints one JSON line with its address, and exits when nothing has used it for
15 seconds; when the data directory is in use already, it prints the address of the server that uses it. A node started
without it on the same data directory takes its place when no script runs any more.`,
		Example: fmt.Sprintf(`  sluice %s start
  sluice %s start --data-dir /var/lib/sluice --node-name a --bootstrap-expect 3 --join a,b,c \
    --internal-addr 10.0.0.1:4201 --gossip-addr 10.0.0.1:4202 --tls-ca ca.pem --tls-cert a.pem --tls-key a-key.pem`, name, name),
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(a); err != nil {
				return err
			}
			if !options.Ephemeral {
				a.say("Starting...")
				options.Ready = a.announceServer
			}
			return runServer(command.Context(), a, options)
		},
	}
	options.register(a, start.Flags())
	options.registerCluster(start.Flags())
	start.Flags().BoolVar(&options.Ephemeral, "ephemeral", false, "serve only as long as something uses it")
	about := "Run nodes of the cluster"
	if name != "server" {
		about = "Run nodes of the cluster (another name of server)"
	}
	return group(name, about, about+".", "  sluice "+name+" start", start, newServerStatus(a, name))
}

// announceServer says how to use a server that is ready.
func (a *app) announceServer(apiURL, dashboardURL string) {
	a.say("\n%s\n", strings.Join(serverBanner, "\n"))
	a.say("Configure Sluice to communicate with the server with:\n\n    sluice config set %s=%s\n", settingAPIURL, apiURL)
	a.say("Check out the dashboard at %s", dashboardURL)
}

func newDevCommand(a *app) *cobra.Command {
	options := serverOptions{BootstrapExpect: 1, Insecure: true, Dev: true}
	command := &cobra.Command{
		Use:   "dev",
		Short: "Start server, agent and a sample deployment in one process",
		Long: `Start everything on this machine in one process: a node, an agent, a work queue and a sample deployment. What it stores
is still there when it is started again.`,
		Example: "  sluice dev\n  sluice dev --data-dir /tmp/try --http-addr 127.0.0.1:4300",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(a); err != nil {
				return err
			}
			options.Ready = a.announceServer
			return runDev(command.Context(), a, options)
		},
	}
	options.register(a, command.Flags())
	return command
}

// agentOptions is what the flags of agent start say.
type agentOptions struct {
	Queues []api.WorkQueue
	Name   string        // "" is made from host and process
	Limit  int           // how many runs at once; 0 is the agent's default
	Drain  time.Duration // how long a stopping agent waits for its runs; 0 is the agent's default
	Logger *slog.Logger
	// Ready is called once the agent is registered.
	Ready func()
}

func newAgentCommand(a *app) *cobra.Command {
	var options agentOptions
	var hideWelcome bool
	start := &cobra.Command{
		Use:   "start QUEUE...",
		Short: "Start an agent",
		Long: `Start an agent, which claims runs from work queues and executes them. Queues are given by name or id and looked up once:
renaming one does not disturb the agent.

SIGTERM and Ctrl-C drain it: it takes no more runs and waits up to --drain-timeout for those it executes; then they are stopped
and become Crashed. A second signal stops them at once.`,
		Example:           "  sluice agent start tutorial_queue\n  sluice agent start 3461754d-e411-4155-9bc7-a0145b6974a0",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeNames(a, workQueueNames),
		RunE: func(command *cobra.Command, args []string) (err error) {
			defer func() {
				// Told to stop while it looked for its queues: a service that is stopped has not failed.
				if err != nil && command.Context().Err() != nil {
					a.say("\nAgent stopped!")
					err = nil
				}
			}()
			logger, err := a.logger()
			if err != nil {
				return err
			}
			options.Logger = logger
			if options.Limit < 0 {
				return usagef("--limit is %d; it must not be negative", options.Limit)
			}
			if options.Drain <= 0 {
				return usagef("--drain-timeout is %s; it must be positive (a second SIGTERM or Ctrl-C stops the agent at once)", options.Drain)
			}
			address, _ := a.settings.lookup(settingAPIURL)
			if !hideWelcome {
				a.say("Starting agent connected to %s...\n\n%s\n\n", address, strings.Join(agentBanner, "\n"))
			}
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			for _, ref := range args {
				queue, err := findWorkQueue(command.Context(), c, ref)
				if err != nil {
					return err
				}
				options.Queues = append(options.Queues, *queue)
			}
			c.Close()
			options.Ready = func() {
				a.say("Agent started! Looking for work from %s...", queuePhrase(args))
			}
			return runAgent(command.Context(), a, options)
		},
	}
	flags := start.Flags()
	flags.BoolVar(&hideWelcome, "hide-welcome", false, "do not print the welcome")
	flags.StringVar(&options.Name, "name", "", "name of the agent (default host and process)")
	flags.IntVar(&options.Limit, "limit", 0, "how many runs it executes at once (default 16)")
	flags.DurationVar(&options.Drain, "drain-timeout", 30*time.Second, "how long an agent that was told to stop waits for its runs")
	bindSetting(flags, "drain-timeout")
	return group("agent", "Run and list agents", "Run agents, which claim flow runs from work queues and execute them, and see who does.",
		"  sluice agent start tutorial_queue\n  sluice agent ls", start, newAgentList(a), newAgentInspect(a), newAgentDrain(a), newAgentUndrain(a), newAgentForget(a), newSuperviseCommand(a))
}

// newSuperviseCommand is what an agent starts beside itself, so that its flow processes end when it does.
func newSuperviseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "supervise",
		Short:   "End the flow processes of an agent that was killed",
		Long:    "Started by agents: reads from its standard input until the agent has ended, then ends the flow processes it left.",
		Example: "  sluice agent supervise",
		Args:    cobra.NoArgs,
		Hidden:  true,
		RunE:    func(*cobra.Command, []string) error { return agent.Supervise(a.in) },
	}
}

// queuePhrase names queues as the user named them.
func queuePhrase(refs []string) string {
	if len(refs) == 1 {
		return "queue '" + refs[0] + "'"
	}
	return "queues '" + strings.Join(refs, "', '") + "'"
}
