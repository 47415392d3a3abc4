# Who may talk to whom. Each line of `flows` is let out of one group and into another.

locals {
  listen_port = 8080
  ops_port    = 8081
  redis_port  = 6379

  security_groups = {
    alb       = "The load balancer of ${var.name}"
    nodes     = "The fan-out nodes of ${var.name}"
    functions = "The functions of ${var.name}"
    redis     = "The Redis of ${var.name}"
  }

  flows = {
    alb-nodes       = { from = "alb", to = "nodes", port = local.listen_port, why = "sockets" }
    alb-nodes-ops   = { from = "alb", to = "nodes", port = local.ops_port, why = "health checks" }
    nodes-redis     = { from = "nodes", to = "redis", port = local.redis_port, why = "Redis" }
    functions-redis = { from = "functions", to = "redis", port = local.redis_port, why = "Redis" }
  }
}

resource "aws_security_group" "this" {
  for_each    = local.security_groups
  name        = "${var.name}-${each.key}"
  description = each.value
  vpc_id      = local.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_vpc_security_group_ingress_rule" "flow" {
  for_each                     = local.flows
  security_group_id            = aws_security_group.this[each.value.to].id
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  description                  = "${each.value.why} from ${each.value.from}"
  tags                         = var.tags
}

resource "aws_vpc_security_group_egress_rule" "flow" {
  for_each                     = local.flows
  security_group_id            = aws_security_group.this[each.value.from].id
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  description                  = "${each.value.why} to ${each.value.to}"
  tags                         = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "public" {
  for_each          = toset(var.allowed_cidrs)
  security_group_id = aws_security_group.this["alb"].id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  description       = "HTTPS and WSS"
  tags              = var.tags
}

# AWS's APIs have no fixed addresses.
resource "aws_vpc_security_group_egress_rule" "apis" {
  for_each          = toset(["nodes", "functions"])
  security_group_id = aws_security_group.this[each.value].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  description       = "AWS's APIs"
  tags              = var.tags
}
