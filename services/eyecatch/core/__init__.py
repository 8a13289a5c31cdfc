"""The product's types, ports, operations and errors. numpy and the standard library only: no server, no store, no tensor."""
