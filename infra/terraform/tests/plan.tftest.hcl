# Values that a plan shows, without an account.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  domain_name   = "realtime.example.com"
  zone_id       = "Z0123456789ABCDEFGHIJ"
  functions_dir = "./tests/zips"
  image_tag     = "v1.0.0"
}

run "defaults" {
  command = plan

  # == Balancer

  assert {
    condition     = aws_lb.this.idle_timeout > 25 && aws_lb.this.idle_timeout < 75
    error_message = "The balancer's idle timeout must lie between the nodes' ping interval (25 s) and their keep-alive (75 s)."
  }

  assert {
    condition     = aws_lb.this.xff_header_processing_mode == "append" && aws_lb.this.drop_invalid_header_fields
    error_message = "The balancer must append to X-Forwarded-For: its last entry is what nodes and functions believe."
  }

  assert {
    condition     = length(aws_lb.this.access_logs) == 0
    error_message = "Access logs hold tokens: they are off by default."
  }

  assert {
    condition     = aws_lb.this.enable_deletion_protection && !aws_lb.this.internal
    error_message = "The balancer faces the internet and is protected."
  }

  assert {
    condition     = aws_lb_listener.https.port == 443 && aws_lb_listener.https.protocol == "HTTPS" && can(regex("TLS13-1-2", aws_lb_listener.https.ssl_policy))
    error_message = "The one listener is HTTPS with TLS 1.2 and 1.3."
  }

  assert {
    condition     = aws_lb_listener.https.default_action[0].type == "fixed-response" && aws_lb_listener.https.default_action[0].fixed_response[0].status_code == "404" && jsondecode(aws_lb_listener.https.default_action[0].fixed_response[0].message_body).error == "not_found"
    error_message = "What no rule takes is 404 not_found."
  }

  assert {
    condition     = length(aws_lb_listener.https.default_action[0].fixed_response[0].message_body) <= 1024
    error_message = "AWS takes 1024 bytes of a fixed response."
  }

  assert {
    condition     = alltrue([for tg in aws_lb_target_group.function : tg.target_type == "lambda" && tg.lambda_multi_value_headers_enabled])
    error_message = "Functions are targets of type lambda with multi-value headers."
  }

  assert {
    condition     = aws_lb_target_group.nodes.health_check[0].path == "/healthz" && aws_lb_target_group.nodes.health_check[0].port == "8081"
    error_message = "The health check is /healthz on the operations port: with /readyz a Redis outage would end every node."
  }

  assert {
    condition     = length(distinct(concat([aws_lb_listener_rule.nodes.priority], [for r in aws_lb_listener_rule.function : r.priority]))) == 1 + length(aws_lb_listener_rule.function)
    error_message = "No two rules may have one priority."
  }

  # == Draining

  assert {
    condition     = tonumber(aws_lb_target_group.nodes.deregistration_delay) == var.drain_seconds + 60
    error_message = "The deregistration delay must be the drain time and 60 s: what is open when it ends is cut."
  }

  assert {
    condition     = var.drain_seconds == 180
    error_message = "The drain time is 180 s by default."
  }

  assert {
    condition     = aws_ecs_service.nodes[0].availability_zone_rebalancing == "DISABLED"
    error_message = "Zone rebalancing would end nodes that hold connections."
  }

  assert {
    condition     = aws_ecs_service.nodes[0].deployment_minimum_healthy_percent == 100 && aws_ecs_service.nodes[0].deployment_maximum_percent == 150
    error_message = "New nodes come before old ones go, half of them at a time."
  }

  assert {
    condition     = aws_ecs_service.nodes[0].deployment_circuit_breaker[0].enable && aws_ecs_service.nodes[0].deployment_circuit_breaker[0].rollback
    error_message = "A deployment that fails is rolled back."
  }

  assert {
    condition     = aws_ecs_service.nodes[0].launch_type == "FARGATE" && length(aws_ecs_service.nodes[0].capacity_provider_strategy) == 0
    error_message = "Fargate, and not Spot."
  }

  assert {
    condition     = coalesce(aws_ecs_task_definition.nodes[0].skip_destroy, false)
    error_message = "The running revision must outlive the making of the next one."
  }

  # == Nodes

  assert {
    condition     = aws_ecs_task_definition.nodes[0].runtime_platform[0].cpu_architecture == "ARM64"
    error_message = "The image is built for arm64."
  }

  assert {
    condition     = !aws_ecs_service.nodes[0].network_configuration[0].assign_public_ip
    error_message = "Nodes have no public address."
  }

  assert {
    condition     = aws_ecr_repository.nodes.image_tag_mutability == "IMMUTABLE"
    error_message = "A tag must go on meaning the image that was tested."
  }

  # == Scaling

  assert {
    condition     = aws_appautoscaling_target.nodes[0].min_capacity == 2 && aws_appautoscaling_target.nodes[0].max_capacity == 20
    error_message = "2 to 20 nodes by default."
  }

  assert {
    condition     = aws_appautoscaling_policy.connections[0].target_tracking_scaling_policy_configuration[0].scale_in_cooldown >= 900
    error_message = "Nodes go one at a time, 15 minutes apart."
  }

  assert {
    condition     = aws_appautoscaling_policy.connections[0].target_tracking_scaling_policy_configuration[0].target_value == var.connections_per_node
    error_message = "The service scales on connections per node."
  }

  assert {
    condition     = one([for m in aws_appautoscaling_policy.connections[0].target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metrics : m.expression if m.return_data]) == "connections / 2 / nodes"
    error_message = "The balancer counts a socket twice, and there are several nodes."
  }

  assert {
    condition     = aws_appautoscaling_policy.cpu[0].target_tracking_scaling_policy_configuration[0].disable_scale_in
    error_message = "The CPU policy must not take nodes away: idle nodes hold connections."
  }

  # == Redis

  assert {
    condition     = aws_elasticache_replication_group.this.engine == "valkey" && aws_elasticache_replication_group.this.engine_version == "8.0"
    error_message = "Redis is Valkey 8."
  }

  assert {
    condition     = aws_elasticache_replication_group.this.transit_encryption_enabled && tobool(aws_elasticache_replication_group.this.at_rest_encryption_enabled)
    error_message = "Redis is encrypted on the wire and at rest."
  }

  assert {
    condition     = aws_elasticache_replication_group.this.automatic_failover_enabled && aws_elasticache_replication_group.this.multi_az_enabled && aws_elasticache_replication_group.this.num_cache_clusters == 2
    error_message = "Redis fails over to a replica in another zone."
  }

  assert {
    condition     = !contains([for p in aws_elasticache_parameter_group.this.parameter : p.name], "cluster-enabled") && aws_elasticache_replication_group.this.replication_group_id == "fleetwire"
    error_message = "Redis is no cluster unless redis_cluster_mode says so."
  }

  assert {
    condition     = { for p in aws_elasticache_parameter_group.this.parameter : p.name => p.value }["maxmemory-policy"] == "noeviction"
    error_message = "Counters must not be evicted."
  }

  assert {
    condition     = tonumber({ for p in aws_elasticache_parameter_group.this.parameter : p.name => p.value }["client-output-buffer-limit-pubsub-hard-limit"]) > 33554432
    error_message = "The pub/sub output buffer limit is raised above its 32 MB."
  }

  # AWS installs minor versions. A plan must not want to go back (and replace Redis
  # for it): what ignore_changes does about that, infra's tests in Go show.
  assert {
    condition     = tobool(aws_elasticache_replication_group.this.auto_minor_version_upgrade)
    error_message = "Minor versions come by themselves."
  }

  assert {
    condition     = startswith(aws_elasticache_parameter_group.this.name, "fleetwire-valkey8-") && aws_elasticache_parameter_group.this.name != "fleetwire-valkey8-"
    error_message = "A parameter group that replaces another stands beside it, so its name says what it holds."
  }

  # == Functions

  assert {
    condition     = alltrue([for f in aws_lambda_function.this : f.runtime == "provided.al2023" && f.handler == "bootstrap" && join("", f.architectures) == "arm64"])
    error_message = "Functions are bootstrap binaries for arm64."
  }

  assert {
    condition     = alltrue([for k, f in aws_lambda_function.this : endswith(f.filename, "/${k}.zip") && f.source_code_hash == filebase64sha256("./tests/zips/${k}.zip")])
    error_message = "Each function has its own zip, and is deployed when that changes."
  }

  assert {
    condition     = alltrue([for f in aws_lambda_function.this : f.reserved_concurrent_executions == -1])
    error_message = "No concurrency is reserved by default."
  }

  # == Options are off

  assert {
    condition     = length(aws_wafv2_web_acl.this) == 0 && length(aws_nat_gateway.this) == 1
    error_message = "No firewall and one NAT gateway by default."
  }

  assert {
    condition     = length(aws_flow_log.this) + length(aws_cloudwatch_log_group.flows) == 0 && length(aws_ecr_repository.nodes.encryption_configuration) == 0
    error_message = "No flow logs and no key of one's own by default."
  }
}

run "without_an_image_there_is_everything_but_nodes" {
  command = plan

  variables {
    image_tag = null
  }

  assert {
    condition     = length(aws_ecs_service.nodes) == 0 && length(aws_appautoscaling_target.nodes) == 0 && length(aws_ecs_task_definition.nodes) == 0 && length(aws_cloudwatch_metric_alarm.no_node) == 0
    error_message = "The first apply has no image to run."
  }

  assert {
    condition     = output.ecs_service_name == null
    error_message = "There is no service to name yet."
  }
}

run "options_on" {
  command = plan

  variables {
    availability_zones         = 3
    nat_gateway_per_zone       = true
    waf_requests_per_5_minutes = 5000
    access_logs_bucket         = "my-logs"
    drain_seconds              = 600
    function_architecture      = "x86_64"
    function_concurrency       = 50
    redis_replicas             = 2
    deletion_protection        = false
    alarm_topic_arns           = ["arn:aws:sns:eu-central-1:111122223333:oncall"]
    tags                       = { fleet = "one" }
  }

  assert {
    condition     = length(aws_wafv2_web_acl.this) == 1 && length(aws_nat_gateway.this) == 3 && length(aws_subnet.private) == 3
    error_message = "A firewall, three zones, three NAT gateways."
  }

  assert {
    condition     = length(distinct(concat(aws_subnet.public[*].cidr_block, aws_subnet.private[*].cidr_block))) == 6
    error_message = "Subnets must not overlap."
  }

  assert {
    condition     = aws_lb.this.access_logs[0].enabled && !aws_lb.this.enable_deletion_protection
    error_message = "Access logs on, deletion protection off."
  }

  assert {
    condition     = tonumber(aws_lb_target_group.nodes.deregistration_delay) == 660
    error_message = "The deregistration delay follows the drain time."
  }

  assert {
    condition     = alltrue([for f in aws_lambda_function.this : join("", f.architectures) == "x86_64" && f.reserved_concurrent_executions == 50])
    error_message = "Functions for x86_64, 50 instances each."
  }

  assert {
    condition     = alltrue([for r in aws_wafv2_web_acl.this[0].rule : !r.visibility_config[0].sampled_requests_enabled])
    error_message = "The firewall must not keep samples of URLs: they hold tokens."
  }

  # All others that can have tags are looked at after an apply, by TestTags.
  assert {
    condition     = aws_wafv2_web_acl.this[0].tags == tomap({ fleet = "one" })
    error_message = "The firewall has the tags of the variable."
  }

  assert {
    condition     = alltrue([for a in concat(values(aws_cloudwatch_metric_alarm.this), aws_cloudwatch_metric_alarm.no_node) : length(a.alarm_actions) == 1])
    error_message = "Every alarm goes to the topic."
  }
}

run "cluster_mode" {
  command = plan

  variables {
    redis_cluster_mode = true
    redis_shards       = 4
    redis_replicas     = 2
  }

  assert {
    condition     = aws_elasticache_replication_group.this.num_node_groups == 4 && aws_elasticache_replication_group.this.replicas_per_node_group == 2
    error_message = "Four primaries with two replicas each."
  }

  assert {
    condition     = { for p in aws_elasticache_parameter_group.this.parameter : p.name => p.value }["cluster-enabled"] == "yes" && { for p in aws_elasticache_parameter_group.this.parameter : p.name => p.value }["maxmemory-policy"] == "noeviction"
    error_message = "The parameters are those of cluster mode, and evict nothing."
  }

  assert {
    condition     = aws_elasticache_replication_group.this.replication_group_id == "fleetwire-cluster" && aws_elasticache_replication_group.this.automatic_failover_enabled && aws_elasticache_replication_group.this.multi_az_enabled
    error_message = "The cluster has a name of its own, so that another value makes a new one, and fails over."
  }

  assert {
    condition     = toset([for k, a in aws_cloudwatch_metric_alarm.this : a.dimensions["CacheClusterId"] if endswith(k, "-memory") && startswith(k, "redis-")]) == toset(flatten([for s in ["0001", "0002", "0003", "0004"] : [for i in ["001", "002", "003"] : "fleetwire-cluster-${s}-${i}"]]))
    error_message = "Each node of each shard has its alarms."
  }
}
