package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/config"
)

// Exit codes, the same for every command.
const (
	exitDone    = 0
	exitRefused = 1 // refused or failed, with one clear line on stderr
	exitUsage   = 2
)

const defaultRuntimeDir = "/run/spindle"

// usageError is a command line that cannot be meant.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// errSaid is a failure that the operator has been told of already.
var errSaid = errors.New("failed")

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	var problems config.Problems
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "spindle: %s (spindle --help shows the commands)\n", usage)
		return exitUsage
	case errors.Is(err, errSaid):
	case errors.As(err, &problems):
		fmt.Fprintln(stderr, problems)
	default:
		fmt.Fprintf(stderr, "spindle: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return exitRefused
}

func rootCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "spindle",
		Short: "An IPsec gateway: XDP to AF_XDP to ESP, keyed by IKE",
		Long: `Spindle is an IPsec gateway. XDP steers ESP and IKE into AF_XDP rings, one worker
per core does ESP, and an unprivileged process speaks IKE.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.`,
		Example: `  spindle check --config /etc/spindle/spindle.yaml
  spindle run --config /etc/spindle/spindle.yaml
  spindle show child-sas`,
		Args:              noArguments,
		RunE:              needsCommand,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usagef("%s: %v", c.CommandPath(), err) })
	c.PersistentFlags().String("runtime-dir", defaultRuntimeDir, "directory of the gateway's lock and API socket")
	c.AddCommand(runCommand(), checkCommand(), showCommand(), whyCommand(), clearCommand(), debugCommand(), upCommand(), downCommand(), rekeyCommand(), reloadCommand(), demoCommand(), benchCommand(),
		datapathCommand(), controlCommand(), versionCommand())
	return c
}

// noArguments refuses what is neither a flag nor a command.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if c.Flags().Lookup("config") != nil {
		return usagef("%s takes no argument, not %q: a configuration is named by --config FILE", c.CommandPath(), args[0])
	}
	if !c.HasAvailableSubCommands() {
		return usagef("%s takes no argument, not %q", c.CommandPath(), args[0])
	}
	hint := ""
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(": did you mean %s?", near[0])
	}
	return usagef("%s has no command %q%s", c.CommandPath(), args[0], hint)
}

// needsCommand is the body of a command that only groups others.
func needsCommand(c *cobra.Command, _ []string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			names = append(names, sub.Name())
		}
	}
	return usagef("%s needs one of: %s", c.CommandPath(), strings.Join(names, ", "))
}

func runtimeDir(c *cobra.Command) string {
	dir, _ := c.Flags().GetString("runtime-dir")
	return dir
}

// configFlag adds --config; configPath insists on it.
func configFlag(c *cobra.Command) { c.Flags().StringP("config", "c", "", "configuration file (YAML)") }

func configPath(c *cobra.Command) (string, error) {
	path, _ := c.Flags().GetString("config")
	if path == "" {
		return "", usagef("%s needs --config FILE", c.CommandPath())
	}
	return path, nil
}
