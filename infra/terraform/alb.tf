# One balancer and one host name for sockets and REST. There is no listener on
# port 80: a redirect would come after the token had crossed the net readable.

locals {
  # Longer than the 25 s between a node's pings, or idle sockets would be cut;
  # shorter than the 75 s after which a node closes an idle keep-alive
  # connection, or the balancer would now and then use one that just ended (502).
  idle_timeout = 60

  # A node finds out within 15 s that it drains, and then needs drain_seconds.
  deregistration_delay = var.drain_seconds + 60
}

resource "aws_lb" "this" {
  name               = var.name
  load_balancer_type = "application"
  internal           = false
  subnets            = local.public_subnet_ids
  security_groups    = [aws_security_group.this["alb"].id]
  tags               = var.tags

  idle_timeout = local.idle_timeout
  # AWS's longest, a week: not everything says that it spares upgraded connections.
  client_keep_alive = 604800

  # Appended: the last entry is the balancer's own word, and the only one believed.
  xff_header_processing_mode = "append"
  drop_invalid_header_fields = true
  desync_mitigation_mode     = "defensive"
  preserve_host_header       = true
  enable_deletion_protection = var.deletion_protection

  dynamic "access_logs" {
    for_each = var.access_logs_bucket == null ? [] : [var.access_logs_bucket]
    content {
      bucket  = access_logs.value
      prefix  = var.name
      enabled = true
    }
  }

  # For `terraform destroy`, which goes the other way round: it deletes the
  # balancer before these. While deletion_protection has AWS refuse that, it never
  # comes to Redis, the secrets, the network and the certificate.
  depends_on = [
    aws_secretsmanager_secret.apps,
    aws_secretsmanager_secret_version.redis_url, # which comes after Redis
  ]
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = local.certificate_arn
  tags              = var.tags

  default_action {
    type = "fixed-response"
    fixed_response {
      status_code  = "404"
      content_type = "application/json"
      message_body = local.not_found
    }
  }
}

# Sockets. The balancer refuses an upgrade towards a function, so this must go
# to the nodes; any other method on the path is the 404 that localdev answers.
resource "aws_lb_listener_rule" "nodes" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 1
  tags         = var.tags

  condition {
    path_pattern {
      values = local.socket_paths
    }
  }

  condition {
    http_request_method {
      values = ["GET"]
    }
  }

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.nodes.arn
  }
}

resource "aws_lb_listener_rule" "function" {
  for_each     = local.function_rules
  listener_arn = aws_lb_listener.https.arn
  priority     = each.value.priority
  tags         = var.tags

  condition {
    path_pattern {
      values = each.value.paths
    }
  }

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.function[each.value.function].arn
  }
}

resource "aws_lb_target_group" "nodes" {
  name        = "${var.name}-nodes"
  target_type = "ip"
  vpc_id      = local.vpc_id
  protocol    = "HTTP"
  port        = local.listen_port
  tags        = var.tags

  deregistration_delay = local.deregistration_delay
  # A node that has just started has the fewest connections and gets the next ones.
  load_balancing_algorithm_type = "least_outstanding_requests"

  # /healthz, not /readyz: ECS kills what fails here, and a Redis that is away for
  # a minute must not cost every device its connection. A node that can't reach
  # Redis when it starts ends by itself.
  health_check {
    protocol            = "HTTP"
    port                = tostring(local.ops_port)
    path                = "/healthz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_target_group" "function" {
  for_each    = local.function_names
  name        = "${var.name}-${each.key}"
  target_type = "lambda"
  tags        = var.tags

  # Without it a header or a query parameter that comes twice arrives once.
  lambda_multi_value_headers_enabled = true
}

resource "aws_lb_target_group_attachment" "function" {
  for_each         = local.function_names
  target_group_arn = aws_lb_target_group.function[each.key].arn
  target_id        = aws_lambda_function.this[each.key].arn

  # The balancer tries the permission when the target is registered.
  depends_on = [aws_lambda_permission.alb]
}
