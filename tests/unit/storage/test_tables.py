from farhand.storage.tables import CONTROL, ORG


def test_everything_but_who_may_speak_belongs_to_an_org() -> None:
    assert {"orgs", "credentials"} == set(CONTROL.tables)
    assert {"jobs", "runs", "events", "output", "agents", "audit"} < set(ORG.tables)


def test_what_a_job_had_goes_with_it() -> None:
    owned = {
        name
        for name, table in ORG.tables.items()
        for key in table.foreign_keys
        if key.ondelete == "CASCADE"
    }

    assert {"runs", "events", "output", "repeats"} == owned
