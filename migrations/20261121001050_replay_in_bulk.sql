-- Events replayed in bulk: done jobs of theirs run again. The previous version knows no such act: it cannot read it, and leaves it alone.
ALTER TABLE bursar.bulk DROP CONSTRAINT bulk_verb_known,
    ADD CONSTRAINT bulk_verb_known CHECK (verb IN ('retry', 'cancel', 'release', 'replay'));
