-- What a scrape of the metrics counts is found without reading what is over: both tables keep their rows.
CREATE INDEX letter_open ON bursar.letter (state) WHERE state <> 'sent';
CREATE INDEX finding_open ON bursar.finding (type) WHERE state = 'open';
