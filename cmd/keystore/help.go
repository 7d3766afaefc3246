package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/keystore/backend"
)

// addHelp adds the command help. That of cobra repeats what it does not know.
func (a *app) addHelp(root *cobra.Command) {
	help := &cobra.Command{
		Use: "help [COMMAND]", Short: "Show how to use a command", Args: anyArguments,
		ValidArgsFunction: func(_ *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, c := range root.Commands() {
				if len(args) == 0 && c.IsAvailableCommand() && strings.HasPrefix(c.Name(), start) {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("no such command; '%s --help' lists them", root.Name())
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
	root.SetHelpCommand(help)
	root.SetHelpCommandGroupID(groupTool)
}

// addCompletion adds cobra's command completion, and says what flags complete to.
func (a *app) addCompletion(root *cobra.Command) {
	root.SetCompletionCommandGroupID(groupTool)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args = noCommand // cobra's repeats the argument
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range c.Commands() {
				shell.Args = noArguments
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { a.completeFlag(c, f) })
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { a.completeFlag(root, f) })
}

// completeFlag says what a flag's value completes to: files where it names one,
// the words that it knows, else nothing.
func (a *app) completeFlag(cmd *cobra.Command, f *pflag.Flag) {
	complete := cobra.NoFileCompletions
	switch {
	case strings.HasSuffix(f.Name, "-file"), f.Name == "plans", f.Value.Type() == "bool":
		return
	case f.Name == "state":
		complete = cobra.FixedCompletions(stateNames(), cobra.ShellCompDirectiveNoFileComp)
	case f.Name == "hash":
		complete = cobra.FixedCompletions(hashSchemes, cobra.ShellCompDirectiveNoFileComp)
	case f.Name == "plan":
		complete = a.completePlan
	case f.Name == "by":
		complete = cobra.FixedCompletions([]string{"day", "hour"}, cobra.ShellCompDirectiveNoFileComp)
	case f.Name == "store":
		complete = completeStore
	}
	if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
		panic(err) // the flag is one of this command
	}
}

// completeStore gives the schemes, behind which a path or host is still to come.
func completeStore(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var begins []string
	for _, scheme := range backend.Schemes() {
		begins = append(begins, scheme+"://")
	}
	return begins, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}
