package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// mostIdle is how many jobs a text names.
const mostIdle = 20

// idleJobs names the backup jobs that nothing starts by itself, as SITE/NAME: they are
// not active, or have no schedule that does. After an import nobody shall believe that
// backups run.
func (p *openedRepository) idleJobs(ctx context.Context) ([]string, error) {
	const page = 1000
	idle := []string{}
	for offset := 0; ; offset += page {
		l, err := p.client.Jobs(ctx, url.Values{"type": {string(holdfast.JobBackup)}, "limit": {strconv.Itoa(page)}, "offset": {strconv.Itoa(offset)}})
		if err != nil {
			return nil, fmt.Errorf("list the jobs: %w", err)
		}
		for _, j := range l.Items {
			if !j.Active || j.NextRun.IsZero() {
				idle = append(idle, j.Site+"/"+j.Name)
			}
		}
		if len(l.Items) < page {
			return idle, nil
		}
	}
}

// idleText says so to people; empty: there are none.
func idleText(jobs []string) string {
	if len(jobs) == 0 {
		return ""
	}
	more := ""
	if n := len(jobs) - mostIdle; n > 0 {
		jobs, more = jobs[:mostIdle], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("no schedule runs a backup of: %s%s\n", cell(strings.Join(jobs, ", ")), more)
}

// notRebuilt says what an import cannot bring back.
const notRebuilt = "in no repository, and to be set again: schedules, retention, which jobs are active, triggers, ETLs, users, tokens and keys,\n" +
	"passwords of sites, other workers (the list is in docs/operations/recovery.md)\n"
