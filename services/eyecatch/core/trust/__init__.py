"""Trust in covers: the gates and the standing of a made cover, the evidence of its trial, and what an editor may decide."""
