package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

func logFlags(c *cobra.Command) {
	c.Flags().String("log-format", "text", "text or json")
	c.Flags().String("log-level", "info", "debug, info, warn or error")
}

// newLog makes the log of a process; every line of it names the process.
func newLog(c *cobra.Command, w io.Writer) (*slog.Logger, error) {
	format, _ := c.Flags().GetString("log-format")
	word, _ := c.Flags().GetString("log-level")
	var level slog.Level
	switch word {
	case "debug", "info", "warn", "error":
		_ = level.UnmarshalText([]byte(word))
	default:
		return nil, usagef("--log-level %q: write debug, info, warn or error", word)
	}
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler
	switch format {
	case "text":
		h = slog.NewTextHandler(w, options)
	case "json":
		h = slog.NewJSONHandler(w, options)
	default:
		return nil, usagef("--log-format %q: write text or json", format)
	}
	return slog.New(h).With("process", c.Name()), nil
}

// logArguments passes the choice on to a child process.
func logArguments(c *cobra.Command, name string) []string {
	format, _ := c.Flags().GetString("log-format")
	level, _ := c.Flags().GetString("log-level")
	return []string{name, "--log-format", format, "--log-level", level}
}
