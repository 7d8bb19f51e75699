package bmcetl

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// many is a service with ten thousand ETLs in memory.
type many struct {
	Service

	jobs []holdfast.Job
}

func (m many) Authenticate(context.Context, string, string) (holdfast.Actor, error) {
	return holdfast.Actor{Credential: holdfast.Credential{ID: 1, Role: holdfast.RoleReader}}, nil
}

func (m many) ETLs(context.Context, holdfast.Actor, service.ETLFilter, store.Page) ([]holdfast.Job, int, error) {
	return m.jobs, len(m.jobs), nil
}

// BenchmarkList writes the list of all of ten thousand ETLs, and a page of it.
func BenchmarkList(b *testing.B) {
	m := many{}
	for i := range 10_000 {
		m.jobs = append(m.jobs, holdfast.Job{ID: holdfast.JobID(1001 + i), Name: fmt.Sprintf("orders of region %d", i), ETL: &holdfast.ETLSpec{
			Configurations: []holdfast.RunConfiguration{{ID: holdfast.RunConfigurationID(1001 + i), Name: "Default", Active: true}},
		}})
	}
	h := Handler(Config{Service: m, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	for name, target := range map[string]string{"all": "", "page": "?page=3&size=100"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, backend+"/etls"+target, nil)
				r.Header.Set("Authorization", "Bearer x")
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				if rec.Code != http.StatusOK {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}
