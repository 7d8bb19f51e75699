package dispatch_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestETLSecretStaysSecret runs an ETL whose server repeats a secret property in its
// error: nothing that leaves the worker holds the value.
func TestETLSecretStaysSecret(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	p.Exec(t, "", "CREATE TABLE a (v int)")
	s := newStand(t, nil)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(etl.New(etl.Config{})))
	const definition = `
apiVersion: holdfast/etl/v1
name: secret
connections: {berlin: {site: berlin}, dwh: {site: dwh}}
parameters: {api_token: {type: text}}
extract: [{name: a, connection: berlin, query: "select cast(:api_token as int) as v"}]
load: [{from: a, connection: dwh, table: a}]
`
	j := s.newETL(t, "secret", definition, nil)
	ctx := context.WithoutCancel(t.Context())
	password, err := s.master.Seal(holdfast.NewSecret(p.Password))
	require(t, err)
	var sites []holdfast.Site
	s.update(t, func(tx store.Tx) error {
		sites = nil
		for _, slug := range []string{"berlin", "dwh"} {
			site, err := tx.SiteBySlug(ctx, s.account, slug)
			if err != nil {
				return err
			}
			site.Password = password
			site.Server = holdfast.Server{Host: p.SocketDir, Port: p.Port, User: p.User, Database: "postgres", SSLMode: "disable"}
			if err := tx.UpdateSite(ctx, site); err != nil {
				return err
			}
			sites = append(sites, site)
		}
		return nil
	})
	now := time.Now()
	const secret = "SEKRIT99"
	id := s.submitETL(t, j, holdfast.ETLRun{Properties: map[string]string{"api_token": secret}}, now, now)
	s.dispatcher.Ring(holdfast.DefaultPool)
	e := s.waitEnded(t, id, 20*time.Second, holdfast.OutcomeFailed)
	_, err = s.dispatcher.PreviewETL(ctx, holdfast.ETLTask{Job: j, Site: sites[0], Sites: sites, Properties: e.ETL.Properties}, 10)
	log, _, readErr := s.logFiles.Read(ctx, id, 0, 1<<20)
	require(t, readErr)
	e.ETL = nil // where it belongs; package sealed seals it there
	for what, text := range map[string]string{
		"detail": e.Detail, "log": string(log), "preview": fmt.Sprint(err, holdfast.ErrorHint(err)), "execution": fmt.Sprintf("%+v %s", e, e.Result),
	} {
		if strings.Contains(text, secret) || !strings.Contains(text, holdfast.MaskedProperty) {
			t.Errorf("%s: got %s", what, text)
		}
	}
}
