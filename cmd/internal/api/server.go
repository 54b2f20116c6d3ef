package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// maxBody bounds a request: a target is two names.
const maxBody = 4096

// Serve answers on l until ctx ends, then lets requests in flight finish for a
// second. It closes l.
func Serve(ctx context.Context, l net.Listener, b Backend, log *slog.Logger) error {
	streams, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	s := &http.Server{
		Handler:           handler(b, streams),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		hangUp()
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Shutdown(last) != nil {
			_ = s.Close()
		}
	}()
	err := s.Serve(l)
	if ctx.Err() == nil {
		return fmt.Errorf("serve API: %w", err)
	}
	<-stopped
	return nil
}

// Handler is the API over b.
func Handler(b Backend) http.Handler { return handler(b, context.Background()) }

// handler serves streams until stopping is done.
func handler(b Backend, stopping context.Context) http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /v1/"+IKESAs, table(b.IKESAs))
	m.Handle("GET /v1/"+ChildSAs, table(b.ChildSAs))
	m.Handle("GET /v1/"+Connections, table(b.Connections))
	m.Handle("GET /v1/"+Peers, table(b.Peers))
	m.Handle("GET /v1/"+Policies, table(b.Policies))
	m.Handle("GET /v1/"+Workers, table(b.Workers))
	m.Handle("GET /v1/"+Counters, table(b.Counters))
	m.Handle("GET /v1/"+Events, table(b.Events))
	m.Handle("GET /v1/"+Leases, table(b.Leases))
	m.Handle("GET /v1/"+Translations, table(b.Translations))
	m.Handle("GET /v1/"+UnknownSPIs, table(b.UnknownSPIs))
	m.Handle("GET /v1/"+Outcomes, table(b.Negotiations))
	m.Handle("GET /v1/"+Rekeying, table(b.Rekeys))
	m.Handle("GET /v1/why", why(b))
	m.Handle("GET /v1/follow", stream(b, stopping))
	m.Handle("POST /v1/clear", clearing(b))
	m.Handle("POST /v1/up", target(b.Up))
	m.Handle("POST /v1/down", target(b.Down))
	m.Handle("POST /v1/rekey", target(b.Rekey))
	m.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		done(w, b.Reload(r.Context()))
	})
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, fmt.Sprintf("%s %s is not part of this gateway's API: the command may be of another version", r.Method, r.URL.Path))
	})
	return m
}

// table serves one list. No rows is [], never null.
func table[Row any](read func(context.Context) ([]Row, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rows, err := read(r.Context())
		if err != nil {
			fail(w, err)
			return
		}
		if rows == nil {
			rows = []Row{}
		}
		reply(w, http.StatusOK, rows)
	}
}

func target(act func(context.Context, Target) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var t Target
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		if err := d.Decode(&t); err != nil {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("read request: %v", err))
			return
		}
		if t.Conn == "" {
			refuse(w, http.StatusBadRequest, "the request names no connection")
			return
		}
		done(w, act(r.Context(), t))
	}
}

func done(w http.ResponseWriter, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusOK, struct{}{})
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusConflict
	switch {
	case errors.Is(err, ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, ErrUnavailable):
		status = http.StatusServiceUnavailable
	}
	refuse(w, status, err.Error())
}

// failure is the body of every answer that is not 200.
type failure struct {
	Error string `json:"error"`
}

func refuse(w http.ResponseWriter, status int, text string) { reply(w, status, failure{text}) }

func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"encode answer"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}
