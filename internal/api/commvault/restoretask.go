package commvault

import "encoding/json"

// restoreOptions is what a restore asks for, as far as it is read.
type restoreOptions struct {
	JobIDs        []code            `json:"jobIds,omitempty"`
	Browse        browseOption      `json:"browseOption,omitzero"`
	Destination   destination       `json:"destination,omitzero"`
	FileOption    fileOption        `json:"fileOption,omitzero"`
	Common        restoreCommon     `json:"commonOptions,omitzero"`
	Postgres      postgresRstOption `json:"postgresRstOption,omitzero"`
	Impersonation impersonation     `json:"impersonation,omitzero"`

	empty bool // it came without any member
}

type browseOption struct {
	Backupset   association `json:"backupset,omitzero"`
	TimeRange   timeRange   `json:"timeRange,omitzero"`
	MediaOption mediaOption `json:"mediaOption,omitzero"`
}

// timeRange names a time by its end. Its beginning bounds what a person browses,
// not what is restored.
type timeRange struct {
	ToTimeValue moment `json:"toTimeValue,omitzero"`
	ToTime      moment `json:"toTime,omitzero"`
}

type mediaOption struct {
	CopyPrecedence copyPrecedence `json:"copyPrecedence,omitzero"`
}

type copyPrecedence struct {
	Applicable flag   `json:"copyPrecedenceApplicable,omitzero"`
	Copy       number `json:"copyPrecedence,omitzero"`
}

type destination struct {
	DestClient   association `json:"destClient,omitzero"`
	DestInstance association `json:"destinationInstance,omitzero"`
	DestPath     []text      `json:"destPath,omitempty"`
}

type fileOption struct {
	SourceItem []text `json:"sourceItem,omitempty"`
}

type restoreCommon struct {
	RestoreToDisk flag `json:"restoreToDisk,omitzero"`
	ValidateOnly  flag `json:"validateOnly,omitzero"`
}

type postgresRstOption struct {
	FSBackupSetRestore flag   `json:"fsBackupSetRestore,omitzero"`
	TableLevelRestore  flag   `json:"tableLevelRestore,omitzero"`
	InstanceRestore    flag   `json:"instanceRestore,omitzero"`
	IsCloneRestore     flag   `json:"isCloneRestore,omitzero"`
	PointOfTime        moment `json:"pointOfTime,omitzero"`
	FromTime           moment `json:"fromTime,omitzero"` // not a beginning: clients put the end here, too
	RefTime            moment `json:"refTime,omitzero"`
	RedirectEnabled    flag   `json:"redirectEnabled,omitzero"`
	RedirectItems      []text `json:"redirectItems,omitempty"`
}

// impersonation is read for its switch alone: beside it stands a password.
type impersonation struct {
	UseImpersonation flag `json:"useImpersonation,omitzero"`
}

// UnmarshalJSON reads the members, and notes whether there are any.
func (o *restoreOptions) UnmarshalJSON(b []byte) error {
	type members restoreOptions
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	o.empty = len(all) == 0
	return json.Unmarshal(b, (*members)(o))
}

// moment is a time in one of the spellings that clients use. The empty object is
// none.
type moment struct {
	Value       text   `json:"timevalue,omitempty"` // 2026-01-02 03:04:05
	Time        number `json:"time,omitzero"`       // seconds since 1970
	PointInTime flag   `json:"pointInTime,omitzero"`
}

// UnmarshalJSON reads an object, or the bare text or number that stands in a
// range.
func (m *moment) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		type members moment
		return json.Unmarshal(b, (*members)(m))
	}
	s, err := scalar(b)
	*m = moment{}
	if s != "0" && s != "-1" {
		m.Value = text(s)
	}
	return err
}

func (m moment) given() bool { return m.Value != "" || m.Time.given() || m.PointInTime.on }

// asksForTime reports whether any of the places where clients put a time holds
// one.
func (o *restoreOptions) asksForTime() bool {
	for _, m := range []moment{
		o.Postgres.PointOfTime, o.Postgres.FromTime, o.Postgres.RefTime, o.Browse.TimeRange.ToTimeValue, o.Browse.TimeRange.ToTime,
	} {
		if m.given() {
			return true
		}
	}
	return false
}
