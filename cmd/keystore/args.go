package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// An argument in the wrong place may be a token, so no error repeats one. The
// texts of cobra and pflag do, and are replaced here.

// tokenForm finds what has the form of a token with any prefix; its group is the
// id, which is public.
var tokenForm = regexp.MustCompile(`[a-z0-9]_([0-9A-Za-z]{16})[0-9A-Za-z]{38}(?:[^0-9A-Za-z]|$)`)

// refuseTokens returns an error if an argument holds a token, wherever it
// stands: other users of the machine, and the shell's history, have it now.
func refuseTokens(args []string) error {
	for i, arg := range args {
		if found := tokenForm.FindStringSubmatch(arg); found != nil {
			return usagef("argument number %d holds a token, which other users of this machine and your shell's history can see: "+
				"tokens are read from standard input or from --token-file. If it is in use, rotate or revoke key %s", i+1, found[1])
		}
	}
	return nil
}

// noArguments is for commands that take flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument", cmd.CommandPath())
	}
	return nil
}

// oneArgument is for commands that take one.
func oneArgument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("%s takes one argument, %s", cmd.CommandPath(), name)
		}
		return nil
	}
}

// noCommand is for a command that only has subcommands.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return nil
}

func unknownCommand(parent *cobra.Command, name string) error {
	text := "unknown command"
	if harmless(name) {
		text += " " + name
	}
	if similar := parent.SuggestionsFor(name); len(similar) > 0 {
		text += " (is it " + strings.Join(similar, " or ") + "?)"
	}
	return usagef("%s; '%s --help' lists the commands", text, parent.CommandPath())
}

// harmlessName is too short for a token, and has other letters.
var harmlessName = regexp.MustCompile(`^[a-z][a-z-]{0,19}$`)

func harmless(name string) bool { return harmlessName.MatchString(name) }

// flagError replaces an error of pflag's.
func flagError(cmd *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	help := fmt.Sprintf("; see '%s --help'", cmd.CommandPath())
	switch {
	case errors.As(err, &unknown) && !cmd.HasParent() && cmd.Flags().NArg() > 0:
		return unknownCommand(cmd, cmd.Flags().Arg(0)) // whose flags the root does not know
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" && harmless(unknown.GetSpecifiedName()):
		return usagef("unknown flag --%s%s", unknown.GetSpecifiedName(), help)
	case errors.As(err, &unknown):
		return usagef("unknown flag%s", help)
	case errors.As(err, &missing):
		return usagef("--%s needs a value", missing.GetFlag().Name)
	case errors.As(err, &invalid):
		return usagef("--%s: %s", invalid.GetFlag().Name, problemOf(invalid))
	}
	return usagef("a flag is malformed%s", help)
}

// problemOf is what is wrong with a flag's value, in words of ours: those of the
// standard library repeat the value.
func problemOf(err error) string {
	var ours problem
	if errors.As(err, &ours) {
		return string(ours)
	}
	return "this is not a value for it"
}

// problem says what is wrong with a value, without repeating it.
type problem string

func (p problem) Error() string { return string(p) }

// parsedFlag is a flag whose value is read by a function that returns a problem.
type parsedFlag[T any] struct {
	value *T
	kind  string
	parse func(string) (T, error)
}

func (f parsedFlag[T]) Set(text string) (err error) {
	*f.value, err = f.parse(text)
	return err
}
func (f parsedFlag[T]) Type() string   { return f.kind }
func (f parsedFlag[T]) String() string { return "" }

// only returns an error if more than one of the flags is given.
func only(cmd *cobra.Command, names ...string) error {
	given := givenFlags(cmd, names)
	if len(given) > 1 {
		return usagef("%s exclude each other", strings.Join(given, " and "))
	}
	return nil
}

// exactlyOne returns an error unless one of the flags is given.
func exactlyOne(cmd *cobra.Command, names ...string) error {
	if len(givenFlags(cmd, names)) == 0 {
		return usagef("one of --%s is needed", strings.Join(names, ", --"))
	}
	return only(cmd, names...)
}

func givenFlags(cmd *cobra.Command, names []string) []string {
	var given []string
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			given = append(given, "--"+name)
		}
	}
	return given
}

// switches returns an error if one of the switches is given as false, which says
// nothing.
func switches(cmd *cobra.Command, names ...string) error {
	for _, name := range givenFlags(cmd, names) {
		if f := cmd.Flags().Lookup(strings.TrimPrefix(name, "--")); f.Value.String() == "false" {
			return usagef("%s takes no value", name)
		}
	}
	return nil
}

// notEmpty returns an error if the flag is given without a text: an empty
// variable of a script, most likely.
func notEmpty(cmd *cobra.Command, name string) error {
	if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
		return usagef("--%s is empty", name)
	}
	return nil
}
