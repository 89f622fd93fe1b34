-- That a look must come before anything is sent again, apart from how old the key is: a key keeps its age, which alone says whether what
-- Stripe saved under it still stands. The version before this one forgot the age instead, and reads nothing from this column.
ALTER TABLE bursar.intent ADD COLUMN look_first boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN bursar.intent.young_since IS 'when the key could first have been used, by anyone''s word. Null: nobody knows, so not young';
