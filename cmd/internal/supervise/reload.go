package supervise

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"spindle/cmd/internal/config"
)

// reload reads the file again. A file with any problem changes nothing.
func (s *supervisor) reload() error {
	next, err := s.Load()
	if err == nil {
		if keys := next.RestartNeeded(s.Config); len(keys) > 0 {
			err = fmt.Errorf("%s: changes of %s need a restart of spindle run", next.Path, strings.Join(keys, ", "))
		}
	}
	if err != nil {
		s.refused(err)
		return err
	}
	m := Message{Kind: Config}
	if err := carryConfig(&m, next); err != nil {
		return err
	}
	defer m.Close()
	s.Config = next
	s.control.send(s.Log, m)
	LogWarnings(s.Log, next)
	s.Log.Info("configuration reloaded", "summary", next.Summary())
	return nil
}

func (s *supervisor) refused(err error) {
	var problems config.Problems
	if !errors.As(err, &problems) {
		s.Log.Error("configuration refused, the old one stays", "error", err)
		return
	}
	for _, p := range problems {
		s.Log.Error("configuration refused, the old one stays", "problem", p.String())
	}
}

// LogWarnings says what Load found worth a line.
func LogWarnings(log *slog.Logger, c *config.Config) {
	for _, w := range c.Warnings {
		log.Warn("configuration", "problem", w.String())
	}
}

func (s *supervisor) answerReload(c *child, request uint64) {
	m := Message{Kind: Reloaded, Request: request}
	if err := s.reload(); err != nil {
		m.Error = err.Error()
	}
	c.send(s.Log, m)
}
