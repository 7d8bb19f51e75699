package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
)

// TestNewAccess: flags win over the environment, and what is missing is said before
// anything is made.
func TestNewAccess(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret, noPEM := file("secret", "from the file\n"), file("ca", "nothing\n")
	large := file("large", strings.Repeat("x", holdfast.MaxAccessCA+1))
	stdin, err := os.Open(file("stdin", "from standard input\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	const bucket = "s3:https://s3.example.com/bucket"
	for _, c := range []struct {
		name, location string
		args           []string
		env            map[string]string
		key, secret    string
		hint           string // of the error
	}{
		{name: "directory", location: "file:///backup"},
		{name: "directory with a key", location: "file:///backup", args: []string{"--access-key", "K"}, hint: "s3:https"},
		{name: "no location", location: "s3:bucket", hint: "s3:https"},
		{name: "no key", location: bucket, hint: "--access-key"},
		{name: "no secret", location: bucket, args: []string{"--access-key", "K"}, hint: "HOLDFAST_S3_SECRET_KEY"},
		{name: "file", location: bucket, args: []string{"--access-key", "K", "--secret-key-file", secret}, key: "K", secret: "from the file"},
		{name: "standard input", location: bucket, args: []string{"--access-key", "K", "--secret-key-stdin"}, key: "K", secret: "from standard input"},
		{
			name: "environment", location: bucket, env: map[string]string{"HOLDFAST_S3_ACCESS_KEY": "E", "HOLDFAST_S3_SECRET_KEY": "from the environment"},
			key: "E", secret: "from the environment",
		},
		{
			name: "flags over the environment", location: bucket, args: []string{"--access-key", "K", "--secret-key-file", secret},
			env: map[string]string{"HOLDFAST_S3_ACCESS_KEY": "E", "HOLDFAST_S3_SECRET_KEY": "from the environment"}, key: "K", secret: "from the file",
		},
		{name: "no certificates", location: bucket, args: []string{"--access-key", "K", "--secret-key-file", secret, "--ca-file", noPEM}, hint: "BEGIN CERTIFICATE"},
		{name: "all certificates", location: bucket, args: []string{"--access-key", "K", "--secret-key-file", secret, "--ca-file", large}, hint: "no others"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("HOLDFAST_STATE", dir)
			for name, v := range c.env {
				t.Setenv(name, v)
			}
			a := &app{output: "table", stdin: stdin}
			var f accessFlags
			cmd := &cobra.Command{}
			f.add(cmd)
			if err := cmd.ParseFlags(c.args); err != nil {
				t.Fatal(err)
			}
			got, err := a.newAccess(cmd, &f, c.location)
			switch {
			case c.hint != "":
				if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorHint(err), c.hint) {
					t.Errorf("got %v with hint %q, want %q in it", err, holdfast.ErrorHint(err), c.hint)
				}
			case err != nil:
				t.Error(err)
			case got == nil:
				if c.key != "" {
					t.Error("got no access")
				}
			case got.AccessKey != c.key || got.SecretKey.Reveal() != c.secret:
				t.Errorf("got %s with %q, want %s with %q", got.AccessKey, got.SecretKey.Reveal(), c.key, c.secret)
			}
		})
	}
}
