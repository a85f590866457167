// Excerpts beside search results are fetched, and browsers refuse that for a site opened as files.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
