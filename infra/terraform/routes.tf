# The REST table (docs/protocol.md, section 5) as the balancer needs it. Everything
# about functions follows from these rows: a function that has none is not deployed,
# and a path that is in none is 404. A test holds them against the handlers.

locals {
  routes = [
    { method = "POST", path = "/v1/tokens", function = "tokens" },
    { method = "POST", path = "/v1/channels/{channel}/publish", function = "publish" },
    { method = "POST", path = "/v1/publish", function = "publish" },
    { method = "GET", path = "/v1/channels/{channel}/messages", function = "history" },
    { method = "DELETE", path = "/v1/channels/{channel}/messages", function = "history" },
    { method = "POST", path = "/v1/channels/{channel}/commands", function = "commands" },
    { method = "GET", path = "/v1/channels/{channel}/commands", function = "commands" },
    { method = "GET", path = "/v1/commands/{id}/answers", function = "commands" },
    { method = "GET", path = "/v1/commands/{id}", function = "commands" },
    { method = "DELETE", path = "/v1/commands/{id}", function = "commands" },
    { method = "POST", path = "/v1/groups/{group}/pull", function = "groups" },
    { method = "POST", path = "/v1/groups/{group}/ack", function = "groups" },
    { method = "GET", path = "/v1/groups/{group}/dead", function = "groups" },
    { method = "DELETE", path = "/v1/groups/{group}/dead", function = "groups" },
    { method = "POST", path = "/v1/groups/{group}/redrive", function = "groups" },
    { method = "POST", path = "/v1/groups/{group}/resume", function = "groups" },
    { method = "GET", path = "/v1/groups/{group}", function = "groups" },
    { method = "GET", path = "/v1/channels/{channel}/peers", function = "peers" },
    { method = "GET", path = "/v1/peers", function = "peers" },
    { method = "GET", path = "/v1/peers/{peer}/commands", function = "peers" },
    { method = "GET", path = "/v1/peers/{peer}", function = "peers" },
    { method = "DELETE", path = "/v1/peers/{peer}", function = "peers" },
    { method = "GET", path = "/v1/nodes", function = "peers" },
    { method = "GET", path = "/v1/usage", function = "usage" },
    { method = "GET", path = "/v1/usage/channels", function = "usage" },
    { method = "GET", path = "/v1/usage/peers", function = "usage" },
  ]

  # Where the sockets are, also with a slash behind.
  socket_paths = ["/v1", "/v1/"]

  function_names = toset([for r in local.routes : r.function])

  # A rule's place in the listener. Fixed for each function, so that a new one
  # moves no other: AWS refuses two rules with one priority, also on the way. A
  # function's further rules come right behind.
  priorities = { tokens = 10, publish = 20, peers = 30, usage = 40, commands = 50, history = 60, groups = 70 }

  # The balancer's * is any run of characters, slashes too, so a channel matches
  # however its slashes arrive. Methods are not looked at: the function itself
  # answers 405 with Allow. A slash behind a fixed word makes no difference; behind
  # a parameter the * takes it.
  function_paths = {
    for f in local.function_names : f => distinct(flatten([
      for r in local.routes : [
        for slash in endswith(r.path, "}") ? [""] : ["", "/"] : "${replace(r.path, "/{[a-z]+}/", "*")}${slash}"
      ] if r.function == f
    ]))
  }

  # In seconds. A request for a command waits for its end for up to 20 s, and one for
  # messages of a group for some (functions/internal/lambda, ServeWaiting).
  timeouts = { commands = 29, groups = 29 }

  # A rule holds at most 5 values. The first has the function's name, so that it
  # stays when there is a second.
  function_rules = merge([
    for f, paths in local.function_paths : {
      for i, part in chunklist(paths, 5) : (i == 0 ? f : "${f}-${i + 1}") => { function = f, paths = part, priority = local.priorities[f] + i }
    }
  ]...)

  # The same words that localdev answers with.
  not_found = jsonencode({
    error   = "not_found"
    message = "nothing is served at this path; there is ${join(", ", [for r in local.routes : "${r.method} ${r.path}"])}"
  })
}
