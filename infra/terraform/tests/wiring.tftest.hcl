# What is wired to what, on a mocked apply. Each instance has its own ARN here: a
# mock gives all of one type the same, and a wrong wire would not show.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  domain_name   = "realtime.example.com"
  zone_id       = "Z0123456789ABCDEFGHIJ"
  functions_dir = "./tests/zips"
  image_tag     = "v1.0.0"

  # With what is optional and makes resources, so that each is looked at. The
  # firewall is in plan.tftest.hcl: its schema makes every run half as long again.
  tags                    = { fleet = "one" }
  kms_key_arn             = "arn:aws:kms:eu-central-1:111122223333:key/12345678-1111-2222-3333-444444444444"
  flow_log_retention_days = 14
  sink_queue_arns         = ["arn:aws:sqs:eu-central-1:111122223333:fleet-events.fifo"]
  sink_stream_arns        = ["arn:aws:kinesis:eu-central-1:111122223333:stream/fleet-events"]
  sink_secret_arns        = ["arn:aws:secretsmanager:eu-central-1:111122223333:secret:crm-AbCdEf"]
  sink_kms_key_arns       = ["arn:aws:kms:eu-central-1:111122223333:key/87654321-1111-2222-3333-444444444444"]
  sink_networks           = ["10.20.0.0/16", "10.30.0.7/32"]
  sink_egress             = [{ cidr = "10.20.0.0/16", port = 9094 }]
}

override_resource {
  target = aws_lb_target_group.nodes
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/fleetwire-nodes/000000000000000f"
    arn_suffix = "targetgroup/fleetwire-nodes/000000000000000f"
  }
}

override_resource {
  target = aws_lb_target_group.function["tokens"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/fleetwire-tokens/0000000000000001"
    arn_suffix = "targetgroup/fleetwire-tokens/0000000000000001"
  }
}

override_resource {
  target = aws_lambda_function.this["tokens"]
  values = {
    arn = "arn:aws:lambda:eu-central-1:111122223333:function:fleetwire-tokens"
  }
}

override_resource {
  target = aws_iam_role.function["tokens"]
  values = {
    arn = "arn:aws:iam::111122223333:role/fleetwire-tokens-function"
    id  = "fleetwire-tokens-function"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.function["tokens"]
  values = {
    arn = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/fleetwire-tokens"
  }
}

override_resource {
  target = aws_lb_target_group.function["publish"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/fleetwire-publish/0000000000000002"
    arn_suffix = "targetgroup/fleetwire-publish/0000000000000002"
  }
}

override_resource {
  target = aws_lambda_function.this["publish"]
  values = {
    arn = "arn:aws:lambda:eu-central-1:111122223333:function:fleetwire-publish"
  }
}

override_resource {
  target = aws_iam_role.function["publish"]
  values = {
    arn = "arn:aws:iam::111122223333:role/fleetwire-publish-function"
    id  = "fleetwire-publish-function"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.function["publish"]
  values = {
    arn = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/fleetwire-publish"
  }
}

override_resource {
  target = aws_lb_target_group.function["peers"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/fleetwire-peers/0000000000000003"
    arn_suffix = "targetgroup/fleetwire-peers/0000000000000003"
  }
}

override_resource {
  target = aws_lambda_function.this["peers"]
  values = {
    arn = "arn:aws:lambda:eu-central-1:111122223333:function:fleetwire-peers"
  }
}

override_resource {
  target = aws_iam_role.function["peers"]
  values = {
    arn = "arn:aws:iam::111122223333:role/fleetwire-peers-function"
    id  = "fleetwire-peers-function"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.function["peers"]
  values = {
    arn = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/fleetwire-peers"
  }
}

override_resource {
  target = aws_lb_target_group.function["usage"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/fleetwire-usage/0000000000000004"
    arn_suffix = "targetgroup/fleetwire-usage/0000000000000004"
  }
}

override_resource {
  target = aws_lambda_function.this["usage"]
  values = {
    arn = "arn:aws:lambda:eu-central-1:111122223333:function:fleetwire-usage"
  }
}

override_resource {
  target = aws_iam_role.function["usage"]
  values = {
    arn = "arn:aws:iam::111122223333:role/fleetwire-usage-function"
    id  = "fleetwire-usage-function"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.function["usage"]
  values = {
    arn = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/fleetwire-usage"
  }
}

override_resource {
  target = aws_lb_target_group.function["commands"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/fleetwire-commands/0000000000000005"
    arn_suffix = "targetgroup/fleetwire-commands/0000000000000005"
  }
}

override_resource {
  target = aws_lambda_function.this["commands"]
  values = {
    arn = "arn:aws:lambda:eu-central-1:111122223333:function:fleetwire-commands"
  }
}

override_resource {
  target = aws_iam_role.function["commands"]
  values = {
    arn = "arn:aws:iam::111122223333:role/fleetwire-commands-function"
    id  = "fleetwire-commands-function"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.function["commands"]
  values = {
    arn = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/fleetwire-commands"
  }
}

override_resource {
  target = aws_lb_target_group.function["history"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/fleetwire-history/0000000000000006"
    arn_suffix = "targetgroup/fleetwire-history/0000000000000006"
  }
}

override_resource {
  target = aws_lambda_function.this["history"]
  values = {
    arn = "arn:aws:lambda:eu-central-1:111122223333:function:fleetwire-history"
  }
}

override_resource {
  target = aws_iam_role.function["history"]
  values = {
    arn = "arn:aws:iam::111122223333:role/fleetwire-history-function"
    id  = "fleetwire-history-function"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.function["history"]
  values = {
    arn = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/fleetwire-history"
  }
}

override_resource {
  target = aws_lb_target_group.function["groups"]
  values = {
    arn        = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/fleetwire-groups/0000000000000007"
    arn_suffix = "targetgroup/fleetwire-groups/0000000000000007"
  }
}

override_resource {
  target = aws_lambda_function.this["groups"]
  values = {
    arn = "arn:aws:lambda:eu-central-1:111122223333:function:fleetwire-groups"
  }
}

override_resource {
  target = aws_iam_role.function["groups"]
  values = {
    arn = "arn:aws:iam::111122223333:role/fleetwire-groups-function"
    id  = "fleetwire-groups-function"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.function["groups"]
  values = {
    arn = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/fleetwire-groups"
  }
}

override_resource {
  target = aws_cloudwatch_log_group.nodes
  values = {
    arn = "arn:aws:logs:eu-central-1:111122223333:log-group:/ecs/fleetwire-nodes"
  }
}

override_resource {
  target = aws_iam_role.execution
  values = {
    arn = "arn:aws:iam::111122223333:role/fleetwire-nodes-execution"
    id  = "fleetwire-nodes-execution"
  }
}

override_resource {
  target = aws_iam_role.nodes
  values = {
    arn = "arn:aws:iam::111122223333:role/fleetwire-nodes"
    id  = "fleetwire-nodes"
  }
}

override_resource {
  target = aws_secretsmanager_secret.apps
  values = {
    arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:fleetwire/apps-AaAaAa"
    id  = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:fleetwire/apps-AaAaAa"
  }
}

override_resource {
  target = aws_secretsmanager_secret.redis_url
  values = {
    arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:fleetwire/redis-url-BbBbBb"
    id  = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:fleetwire/redis-url-BbBbBb"
  }
}

override_resource {
  target = aws_security_group.this["alb"]
  values = {
    id = "sg-alb"
  }
}

override_resource {
  target = aws_security_group.this["nodes"]
  values = {
    id = "sg-nodes"
  }
}

override_resource {
  target = aws_security_group.this["functions"]
  values = {
    id = "sg-functions"
  }
}

override_resource {
  target = aws_security_group.this["redis"]
  values = {
    id = "sg-redis"
  }
}

# One apply for all of these: an apply is what takes the time here.
run "wiring" {
  # == The balancer

  assert {
    condition     = one(aws_lb_listener_rule.nodes.action).target_group_arn == aws_lb_target_group.nodes.arn
    error_message = "GET /v1 must go to the nodes."
  }

  assert {
    condition     = alltrue([for name, r in aws_lb_listener_rule.function : one(r.action).target_group_arn == aws_lb_target_group.function[split("-", name)[0]].arn])
    error_message = "Each function's paths must go to its own target group."
  }

  assert {
    condition     = alltrue([for f, a in aws_lb_target_group_attachment.function : a.target_group_arn == aws_lb_target_group.function[f].arn && a.target_id == aws_lambda_function.this[f].arn])
    error_message = "Each target group must hold its own function."
  }

  assert {
    condition     = keys(aws_lambda_permission.alb) == keys(aws_lambda_function.this) && alltrue([for f, p in aws_lambda_permission.alb : p.function_name == "fleetwire-${f}" && p.principal == "elasticloadbalancing.amazonaws.com" && p.source_arn == aws_lb_target_group.function[f].arn])
    error_message = "The balancer must be allowed to invoke each function, for that function's target group alone."
  }

  assert {
    condition     = aws_lb_listener.https.certificate_arn == aws_acm_certificate.this[0].arn && aws_route53_record.this[0].name == "realtime.example.com" && one(aws_route53_record.this[0].alias).name == aws_lb.this.dns_name
    error_message = "The name must lead to the balancer, with the certificate for it."
  }

  assert {
    condition     = aws_lb.this.security_groups == toset(["sg-alb"]) && aws_lb.this.subnets == toset(aws_subnet.public[*].id)
    error_message = "The balancer stands in the public subnets, in its security group."
  }

  # == A node

  assert {
    condition     = one(aws_ecs_service.nodes[0].load_balancer).target_group_arn == aws_lb_target_group.nodes.arn && one(aws_ecs_service.nodes[0].load_balancer).container_port == 8080
    error_message = "Nodes register with their own target group, on the port they listen on."
  }

  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].environment : e.name => e.value }["FLEETWIRE_TARGET_GROUP_ARN"] == aws_lb_target_group.nodes.arn
    error_message = "A node must ask the target group that it is in whether it drains."
  }

  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].environment : e.name => e.value }["FLEETWIRE_APPS"] == aws_secretsmanager_secret.apps.arn
    error_message = "A node reads the apps document from its secret."
  }

  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].environment : e.name => e.value }["FLEETWIRE_TRUSTED_PROXIES"] == "10.40.0.0/16"
    error_message = "A node believes X-Forwarded-For from the balancer's network."
  }

  assert {
    condition     = lookup({ for e in jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].environment : e.name => e.value }, "FLEETWIRE_SINK_NETWORKS", "") == "10.20.0.0/16,10.30.0.7/32"
    error_message = "A node is told which private networks webhooks may reach."
  }

  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].environment : e.name => e.value }["GOMEMLIMIT"] == "${floor(4096 * 0.85)}MiB"
    error_message = "GOMEMLIMIT is 85 % of the task's memory."
  }

  # What the node does in this time, the balancer must wait for.
  assert {
    condition     = tonumber(trimsuffix({ for e in jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].environment : e.name => e.value }["FLEETWIRE_DRAIN"], "s")) + 60 <= tonumber(aws_lb_target_group.nodes.deregistration_delay)
    error_message = "A node must have drained 60 s before the deregistration delay ends: what is open then is cut."
  }

  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].secrets : e.name => e.valueFrom } == { FLEETWIRE_REDIS_URL = "${aws_secretsmanager_secret.redis_url.arn}:::11111111-2222-3333-4444-555555555555" }
    error_message = "The Redis URL comes out of its secret, by version."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].stopTimeout == 120
    error_message = "A node that is stopped has 120 s, Fargate's most."
  }

  assert {
    condition     = alltrue([for u in jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].ulimits : u.name == "nofile" && u.softLimit == 65535 && u.hardLimit == 65535])
    error_message = "A node may have 65535 files open."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].image == "${aws_ecr_repository.nodes.repository_url}:v1.0.0"
    error_message = "The image is the tag given, out of our repository."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].logConfiguration.options["awslogs-group"] == aws_cloudwatch_log_group.nodes.name && jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].logConfiguration.options.mode == "non-blocking"
    error_message = "A node logs into its group, and never waits for it."
  }

  assert {
    condition     = aws_ecs_task_definition.nodes[0].execution_role_arn == aws_iam_role.execution.arn && aws_ecs_task_definition.nodes[0].task_role_arn == aws_iam_role.nodes.arn
    error_message = "What starts a node and what a node does have different roles."
  }

  assert {
    condition     = one(aws_ecs_service.nodes[0].network_configuration).subnets == toset(aws_subnet.private[*].id) && one(aws_ecs_service.nodes[0].network_configuration).security_groups == toset(["sg-nodes"])
    error_message = "Nodes stand in the private subnets, in their security group."
  }

  # == The functions

  assert {
    condition     = alltrue([for f in aws_lambda_function.this : one(f.environment).variables["FLEETWIRE_APPS"] == aws_secretsmanager_secret.apps.arn && one(f.environment).variables["FLEETWIRE_REDIS_URL"] == aws_secretsmanager_secret.redis_url.arn])
    error_message = "Functions are told where the secrets lie."
  }

  assert {
    condition     = alltrue([for k, f in aws_lambda_function.this : f.role == aws_iam_role.function[k].arn && one(f.logging_config).log_group == aws_cloudwatch_log_group.function[k].name])
    error_message = "Each function has its own role and log group."
  }

  assert {
    condition     = alltrue([for f in aws_lambda_function.this : one(f.vpc_config).subnet_ids == toset(aws_subnet.private[*].id) && one(f.vpc_config).security_group_ids == toset(["sg-functions"])])
    error_message = "Functions stand in the private subnets, in their security group."
  }

  # == The secrets

  assert {
    condition     = nonsensitive(aws_secretsmanager_secret_version.redis_url.secret_string) == "rediss://:${nonsensitive(aws_secretsmanager_secret_version.redis_password.secret_string)}@master.fleetwire.abc123.euc1.cache.amazonaws.com:6379/0" && aws_secretsmanager_secret_version.redis_url.secret_id == aws_secretsmanager_secret.redis_url.id
    error_message = "The secret holds the URL of the primary, with TLS and the password."
  }

  assert {
    condition     = nonsensitive(aws_elasticache_replication_group.this.auth_token) == nonsensitive(aws_secretsmanager_secret_version.redis_password.secret_string)
    error_message = "Redis has the password that the URL has."
  }

  # The form by which infra's tests in Go find it in what Terraform prints.
  assert {
    condition     = can(regex("^[0-9a-f]{32}[0-9A-F]{32}$", nonsensitive(aws_secretsmanager_secret_version.redis_password.secret_string)))
    error_message = "The password is 32 digits of each case."
  }

  # In plain sight it would lie in every `describe`.
  assert {
    condition     = !strcontains(aws_ecs_task_definition.nodes[0].container_definitions, nonsensitive(aws_secretsmanager_secret_version.redis_password.secret_string)) && !strcontains(nonsensitive(jsonencode([for f in aws_lambda_function.this : f.environment])), nonsensitive(aws_secretsmanager_secret_version.redis_password.secret_string))
    error_message = "The password stands in no environment."
  }

  # == The security groups

  # from, to, port; out of one group and into the other.
  assert {
    condition = toset([for r in aws_vpc_security_group_ingress_rule.flow : "${r.referenced_security_group_id} > ${r.security_group_id} ${r.from_port}-${r.to_port}"]) == toset([
      "sg-alb > sg-nodes 8080-8080", "sg-alb > sg-nodes 8081-8081", "sg-nodes > sg-redis 6379-6379", "sg-functions > sg-redis 6379-6379",
    ])
    error_message = "Into a group comes what is needed, and no more."
  }

  assert {
    condition     = toset([for r in aws_vpc_security_group_ingress_rule.flow : "${r.referenced_security_group_id} > ${r.security_group_id} ${r.from_port}-${r.to_port}"]) == toset([for r in aws_vpc_security_group_egress_rule.flow : "${r.security_group_id} > ${r.referenced_security_group_id} ${r.from_port}-${r.to_port}"])
    error_message = "What is let in must be let out on the other side."
  }

  assert {
    condition     = toset([for r in aws_vpc_security_group_ingress_rule.public : "${r.security_group_id} ${r.cidr_ipv4} ${r.from_port}-${r.to_port}"]) == toset(["sg-alb 0.0.0.0/0 443-443"])
    error_message = "From outside only HTTPS to the balancer."
  }

  assert {
    condition     = toset([for r in aws_vpc_security_group_egress_rule.apis : "${r.security_group_id} ${r.from_port}-${r.to_port}"]) == toset(["sg-nodes 443-443", "sg-functions 443-443"])
    error_message = "Nodes and functions reach AWS's APIs."
  }

  assert {
    condition     = [for r in aws_vpc_security_group_egress_rule.sink : "${r.security_group_id} ${r.cidr_ipv4} ${r.from_port}-${r.to_port}"] == ["sg-nodes 10.20.0.0/16 9094-9094"]
    error_message = "Nodes, and they alone, reach the sinks."
  }

  # == Permissions. Exactly these: one less does not work, one more is one too many.

  assert {
    condition = flatten([for s in jsondecode(aws_iam_role_policy.nodes.policy).Statement : [for a in flatten([s.Action]) : [for r in flatten([s.Resource]) : "${s.Effect} ${a} ${r}"]]]) == [
      "Allow secretsmanager:GetSecretValue ${aws_secretsmanager_secret.apps.arn}",
      "Allow elasticloadbalancing:DescribeTargetHealth *",
      "Allow kms:Decrypt ${var.kms_key_arn}",
      "Allow sqs:SendMessage arn:aws:sqs:eu-central-1:111122223333:fleet-events.fifo",
      "Allow kinesis:PutRecords arn:aws:kinesis:eu-central-1:111122223333:stream/fleet-events",
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-central-1:111122223333:secret:crm-AbCdEf",
      "Allow kms:Decrypt arn:aws:kms:eu-central-1:111122223333:key/87654321-1111-2222-3333-444444444444",
      "Allow kms:GenerateDataKey arn:aws:kms:eu-central-1:111122223333:key/87654321-1111-2222-3333-444444444444",
    ]
    error_message = "A node may read the apps document and ask about its target group, and write to its sinks."
  }

  assert {
    condition = flatten([for s in jsondecode(aws_iam_role_policy.execution.policy).Statement : [for a in flatten([s.Action]) : [for r in flatten([s.Resource]) : "${s.Effect} ${a} ${r}"]]]) == [
      "Allow ecr:BatchCheckLayerAvailability ${aws_ecr_repository.nodes.arn}",
      "Allow ecr:BatchGetImage ${aws_ecr_repository.nodes.arn}",
      "Allow ecr:GetDownloadUrlForLayer ${aws_ecr_repository.nodes.arn}",
      "Allow ecr:GetAuthorizationToken *",
      "Allow logs:CreateLogStream ${aws_cloudwatch_log_group.nodes.arn}:*",
      "Allow logs:PutLogEvents ${aws_cloudwatch_log_group.nodes.arn}:*",
      "Allow secretsmanager:GetSecretValue ${aws_secretsmanager_secret.redis_url.arn}",
      "Allow kms:Decrypt ${var.kms_key_arn}",
    ]
    error_message = "ECS may pull the image, write the log and read the Redis URL."
  }

  assert {
    condition = alltrue([for f, p in aws_iam_role_policy.function : flatten([for s in jsondecode(p.policy).Statement : [for a in flatten([s.Action]) : [for r in flatten([s.Resource]) : "${s.Effect} ${a} ${r}"]]]) == [
      "Allow logs:CreateLogStream ${aws_cloudwatch_log_group.function[f].arn}:*",
      "Allow logs:PutLogEvents ${aws_cloudwatch_log_group.function[f].arn}:*",
      "Allow secretsmanager:GetSecretValue ${aws_secretsmanager_secret.apps.arn}",
      "Allow secretsmanager:GetSecretValue ${aws_secretsmanager_secret.redis_url.arn}",
      "Allow ec2:CreateNetworkInterface arn:aws:ec2:eu-central-1:111122223333:*/*",
      "Allow ec2:DeleteNetworkInterface arn:aws:ec2:eu-central-1:111122223333:*/*",
      "Allow ec2:AssignPrivateIpAddresses arn:aws:ec2:eu-central-1:111122223333:*/*",
      "Allow ec2:UnassignPrivateIpAddresses arn:aws:ec2:eu-central-1:111122223333:*/*",
      "Allow ec2:DescribeNetworkInterfaces *",
      "Allow ec2:DescribeSubnets *",
      "Deny ec2:CreateNetworkInterface *",
      "Deny ec2:DeleteNetworkInterface *",
      "Deny ec2:AssignPrivateIpAddresses *",
      "Deny ec2:UnassignPrivateIpAddresses *",
      "Deny ec2:DescribeNetworkInterfaces *",
      "Deny ec2:DescribeSubnets *",
      "Allow kms:Decrypt ${var.kms_key_arn}",
    ]])
    error_message = "A function may write its log and read the secrets; Lambda may make its network interfaces, its code may not."
  }

  # The Deny is for the function's own code: without the condition it would keep
  # Lambda out too.
  assert {
    condition     = alltrue([for f, p in aws_iam_role_policy.function : [for s in jsondecode(p.policy).Statement : s.Condition.ArnEquals["lambda:SourceFunctionArn"] if s.Effect == "Deny"] == [aws_lambda_function.this[f].arn] && p.role == aws_iam_role.function[f].id])
    error_message = "The Deny must be for this function's code alone."
  }

  assert {
    condition     = aws_iam_role_policy.nodes.role == aws_iam_role.nodes.id && aws_iam_role_policy.execution.role == aws_iam_role.execution.id
    error_message = "Each policy belongs to its role."
  }

  assert {
    condition     = alltrue([for r in concat(values(aws_iam_role.function), [aws_iam_role.nodes, aws_iam_role.execution]) : length(jsondecode(r.assume_role_policy).Statement) == 1])
    error_message = "Each role is one service's."
  }

  # == A key of one's own

  assert {
    condition = toset(concat(
      [aws_elasticache_replication_group.this.kms_key_id, one(aws_ecr_repository.nodes.encryption_configuration).kms_key, aws_cloudwatch_log_group.nodes.kms_key_id, aws_cloudwatch_log_group.flows[0].kms_key_id],
      [for s in [aws_secretsmanager_secret.apps, aws_secretsmanager_secret.redis_password, aws_secretsmanager_secret.redis_url] : s.kms_key_id],
      [for g in aws_cloudwatch_log_group.function : g.kms_key_id],
      [for f in aws_lambda_function.this : f.kms_key_arn],
    )) == toset([var.kms_key_arn])
    error_message = "The key given encrypts Redis, images, logs, secrets and the functions' environment."
  }

  # == Flow logs

  assert {
    condition     = aws_flow_log.this[0].vpc_id == aws_vpc.this[0].id && aws_flow_log.this[0].log_destination == aws_cloudwatch_log_group.flows[0].arn && aws_flow_log.this[0].iam_role_arn == aws_iam_role.flows[0].arn && aws_cloudwatch_log_group.flows[0].retention_in_days == 14
    error_message = "Flow logs are the VPC's, and go into their own group."
  }

  assert {
    condition = flatten([for s in jsondecode(aws_iam_role_policy.flows[0].policy).Statement : [for a in flatten([s.Action]) : "${s.Effect} ${a} ${s.Resource}"]]) == [
      "Allow logs:CreateLogStream ${aws_cloudwatch_log_group.flows[0].arn}:*",
      "Allow logs:PutLogEvents ${aws_cloudwatch_log_group.flows[0].arn}:*",
      "Allow logs:DescribeLogStreams ${aws_cloudwatch_log_group.flows[0].arn}:*",
      "Allow logs:DescribeLogGroups *",
    ] && aws_iam_role_policy.flows[0].role == aws_iam_role.flows[0].id
    error_message = "Flow logs may write into their own group alone."
  }

  # == Alarms

  assert {
    condition     = aws_cloudwatch_metric_alarm.no_node[0].dimensions == aws_cloudwatch_metric_alarm.this["nodes-unhealthy"].dimensions && aws_cloudwatch_metric_alarm.no_node[0].metric_name == "HealthyHostCount" && aws_cloudwatch_metric_alarm.no_node[0].comparison_operator == "LessThanThreshold" && aws_cloudwatch_metric_alarm.no_node[0].threshold == 1 && aws_cloudwatch_metric_alarm.no_node[0].treat_missing_data == "breaching"
    error_message = "It is an alarm when no node is healthy, also when the balancer knows of none."
  }

  assert {
    condition     = alltrue([for f in keys(aws_lambda_function.this) : contains(keys(aws_cloudwatch_metric_alarm.this), "${f}-errors") && aws_cloudwatch_metric_alarm.this["${f}-answers-5xx"].dimensions["TargetGroup"] == aws_lb_target_group.function[f].arn_suffix])
    error_message = "Each function has its alarms."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["nodes-unhealthy"].dimensions["TargetGroup"] == aws_lb_target_group.nodes.arn_suffix
    error_message = "The nodes' alarm looks at the nodes."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["redis-2-memory"].dimensions["CacheClusterId"] == "fleetwire-002"
    error_message = "Each Redis member has its alarms."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["connections-near-limit"].threshold == 720000
    error_message = "The limit is 20 nodes of 20,000 connections, which the balancer counts twice."
  }

  # == Outputs

  assert {
    condition     = output.base_url == "https://realtime.example.com" && output.websocket_url == "wss://realtime.example.com/v1"
    error_message = "The URLs are those of the one host name."
  }

  assert {
    condition     = output.apps_secret_arn == aws_secretsmanager_secret.apps.arn && output.redis_endpoint == "master.fleetwire.abc123.euc1.cache.amazonaws.com:6379" && output.alb_dns_name == aws_lb.this.dns_name && output.ecr_repository_url == aws_ecr_repository.nodes.repository_url
    error_message = "Outputs say what was made."
  }

  assert {
    condition     = output.ecs_cluster_name == "fleetwire" && output.ecs_service_name == "fleetwire-nodes" && output.function_names["tokens"] == "fleetwire-tokens" && output.log_groups["nodes"] == "/ecs/fleetwire-nodes" && output.log_groups["flows"] == "/vpc/fleetwire"
    error_message = "Outputs name what was made."
  }
}

# uuid() is another by now. Were the password to follow it, it would not be known
# in a plan, and the condition an error.
run "a_later_plan_keeps_the_password" {
  command = plan

  assert {
    condition     = can(regex("^[0-9a-f]{32}[0-9A-F]{32}$", nonsensitive(aws_elasticache_replication_group.this.auth_token)))
    error_message = "The password must not change by itself."
  }
}

# infra's tests in Go compare this password with the first, and look for both in
# what Terraform prints.
run "a_new_version_is_a_new_password" {
  variables {
    redis_password_version = 2
  }

  override_resource {
    target = aws_secretsmanager_secret_version.redis_password
    values = { version_id = "22222222-2222-3333-4444-555555555555" }
  }

  assert {
    condition     = aws_secretsmanager_secret_version.redis_password.version_id == "22222222-2222-3333-4444-555555555555"
    error_message = "A new version is a new password."
  }

  assert {
    condition     = nonsensitive(aws_elasticache_replication_group.this.auth_token) == nonsensitive(aws_secretsmanager_secret_version.redis_password.secret_string) && strcontains(nonsensitive(aws_secretsmanager_secret_version.redis_url.secret_string), ":${nonsensitive(aws_secretsmanager_secret_version.redis_password.secret_string)}@")
    error_message = "Redis and the URL get the new password."
  }

  assert {
    condition     = aws_elasticache_replication_group.this.auth_token_update_strategy == "ROTATE"
    error_message = "The old password must stay valid until nothing uses it."
  }
}

run "a_cluster_is_named_by_its_own_endpoint" {
  variables {
    redis_cluster_mode = true
  }

  assert {
    condition     = nonsensitive(aws_secretsmanager_secret_version.redis_url.secret_string) == "rediss://:${nonsensitive(aws_secretsmanager_secret_version.redis_password.secret_string)}@clustercfg.fleetwire.abc123.euc1.cache.amazonaws.com:6379/0" && output.redis_endpoint == "clustercfg.fleetwire.abc123.euc1.cache.amazonaws.com:6379"
    error_message = "The secret and the output name the cluster's configuration endpoint."
  }
}
