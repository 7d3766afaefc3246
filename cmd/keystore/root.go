package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/keystore"
)

// system is what the tool uses of the system around it.
type system struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

// app is one run of the tool.
type app struct {
	system
	global globalFlags
	flags  *pflag.FlagSet // those of global
	began  bool           // flags and arguments were right, and the command runs

	readPlans func() (map[string][]keystore.Limit, error) // see plans
}

// globalFlags are the flags of every command. Most of them have a variable of
// the environment beside them: see settings.go.
type globalFlags struct {
	store          string
	prefix         string
	prefixFile     string
	acceptPrefixes []string
	pepperFile     string
	hash           string
	retention      string
	timeout        string
	plans          string
	auditLog       string
	json           bool
}

// run runs the tool and returns its exit code.
func run(ctx context.Context, args []string, sys system) int {
	a := &app{system: sys}
	err := refuseTokens(args)
	if err == nil {
		root := a.root()
		root.SetArgs(append([]string{}, args...)) // not nil, for which cobra takes os.Args
		err = root.ExecuteContext(ctx)
	}
	if !a.began && wantsJSON(args) { // the flags may not have been parsed
		a.global.json = true
	}
	return int(a.finish(ctx, err))
}

// wantsJSON reports whether --json is among the arguments.
func wantsJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--json", "--json=true":
			return true
		case "--":
			return false
		}
	}
	return false
}

const (
	groupKeys  = "keys"
	groupStore = "store"
	groupTool  = "tool"
)

// root makes the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "keystore",
		Short: "Manage the API keys of a store",
		Long: `keystore manages the API keys of a store: it makes them, looks tokens up, and
changes, rotates, revokes and lists keys.

The store is a URL, such as badger:///var/lib/keys or redis://host:6379/0, in
--store or KEYSTORE_URL; the default is a folder of yours. A token is never an
argument: it is read from standard input or from a file.`,
		Example: `  keystore generate --owner alice --scope 'orders:*' --ttl 90d
  keystore lookup --scope orders:read <token
  keystore list --owner alice`,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true, // finish reports them
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(flagError)
	a.addGlobalFlags(root.PersistentFlags())

	root.AddGroup(
		&cobra.Group{ID: groupKeys, Title: "Keys:"},
		&cobra.Group{ID: groupStore, Title: "The store:"},
		&cobra.Group{ID: groupTool, Title: "The tool:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupKeys, a.generate(), a.lookup(), a.get(), a.list(), a.update(), a.expire(),
		a.rotate(), a.endGrace(), a.revoke(), a.disable(), a.enable(), a.delete(), a.limits(), a.usage())
	add(groupStore, a.serve(), a.purge(), a.digests(), a.listPlans(), a.backup(), a.restore(), a.copy())
	add(groupTool, a.version())
	a.addHelp(root)
	a.addCompletion(root)
	return root
}

func (a *app) addGlobalFlags(flags *pflag.FlagSet) {
	g := &a.global
	flags.StringVar(&g.store, "store", "", "`URL` of the store; KEYSTORE_URL")
	flags.StringVar(&g.prefix, "prefix", "", "`prefix` of new tokens; KEYSTORE_PREFIX; default ks")
	flags.StringVar(&g.prefixFile, "prefix-file", "", "`file` that holds the prefix")
	flags.StringArrayVar(&g.acceptPrefixes, "accept-prefix", nil, "further `prefix` whose tokens are looked up (repeatable); KEYSTORE_ACCEPT_PREFIXES")
	flags.StringVar(&g.pepperFile, "pepper-file", "", "`file` that holds the pepper ring; KEYSTORE_PEPPER holds the ring itself")
	flags.StringVar(&g.hash, "hash", "", "`scheme` of new digests: "+strings.Join(hashSchemes, ", ")+"; KEYSTORE_HASH")
	flags.StringVar(&g.retention, "retention", "", "how long a revoked or expired key stays before purge: `duration` or never; KEYSTORE_RETENTION; default 30d")
	flags.StringVar(&g.timeout, "timeout", "", "`duration` of each call to the store; KEYSTORE_TIMEOUT; default 10s")
	flags.StringVar(&g.plans, "plans", "", "`file` of the plans of your program, as JSON; KEYSTORE_PLANS")
	flags.StringVar(&g.auditLog, "audit-log", "", "`file` to which changes and failed lookups are appended as JSON lines; of serve also -, standard output; KEYSTORE_AUDIT_LOG")
	flags.BoolVar(&g.json, "json", false, "print JSON, one value a line")
	a.flags = flags
}

// action is what a command does. It has its context from cobra.
type action func(cmd *cobra.Command, args []string) error

// command makes a command. What its action returns is no longer a mistake in
// flags or arguments, unless it says so.
func (a *app) command(use, short, long, example string, args cobra.PositionalArgs, do action) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: args,
		ValidArgsFunction: cobra.NoFileCompletions, // ids would need the store
		RunE: func(cmd *cobra.Command, args []string) error {
			a.began = true
			return do(cmd, args)
		},
	}
}
