"""What the product means: words, ports, verbs and errors. numpy and the standard library only; no server, no store, no tensor."""
