# What somebody should look at. Each is ALARM when the statistic of the metric
# passes `above` in every one of `minutes` minutes; no data is no alarm.
# nodes-none, at the end, is the exception.

locals {
  alb_dimension  = { LoadBalancer = aws_lb.this.arn_suffix }
  node_dimension = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.nodes.arn_suffix }
  ecs_dimension  = { ClusterName = aws_ecs_cluster.this.name, ServiceName = "${var.name}-nodes" }

  alarms = merge(
    {
      nodes-unhealthy = {
        what      = "a node fails its health check", namespace = "AWS/ApplicationELB", metric = "UnHealthyHostCount"
        statistic = "Maximum", above = 0, minutes = 5, dimensions = local.node_dimension
      }
      nodes-cpu = {
        what      = "nodes are short of CPU", namespace = "AWS/ECS", metric = "CPUUtilization"
        statistic = "Average", above = 85, minutes = 10, dimensions = local.ecs_dimension
      }
      nodes-memory = {
        what      = "a node is short of memory", namespace = "AWS/ECS", metric = "MemoryUtilization"
        statistic = "Maximum", above = 90, minutes = 5, dimensions = local.ecs_dimension
      }
      connections-near-limit = {
        what      = "nine tenths of what nodes_max nodes should carry (the balancer counts a connection twice)", namespace = "AWS/ApplicationELB", metric = "ActiveConnectionCount"
        statistic = "Sum", above = 0.9 * 2 * var.connections_per_node * var.nodes_max, minutes = 5, dimensions = local.alb_dimension
      }
      balancer-refusals = {
        what      = "the balancer refuses connections", namespace = "AWS/ApplicationELB", metric = "RejectedConnectionCount"
        statistic = "Sum", above = 0, minutes = 3, dimensions = local.alb_dimension
      }
      balancer-5xx = {
        what      = "the balancer itself answers 5xx: no node is there, or a function fails", namespace = "AWS/ApplicationELB", metric = "HTTPCode_ELB_5XX_Count"
        statistic = "Sum", above = 10, minutes = 5, dimensions = local.alb_dimension
      }
    },
    {
      for f in local.function_names : "${f}-errors" => {
        what      = "the function ${f} fails", namespace = "AWS/Lambda", metric = "Errors"
        statistic = "Sum", above = 0, minutes = 5, dimensions = { FunctionName = "${var.name}-${f}" }
      }
    },
    {
      for f in local.function_names : "${f}-throttled" => {
        what      = "the function ${f} is at its concurrency limit", namespace = "AWS/Lambda", metric = "Throttles"
        statistic = "Sum", above = 0, minutes = 5, dimensions = { FunctionName = "${var.name}-${f}" }
      }
    },
    {
      for f in local.function_names : "${f}-answers-5xx" => {
        what      = "the function ${f} answers 5xx: Redis or its configuration is not there", namespace = "AWS/ApplicationELB", metric = "HTTPCode_Target_5XX_Count"
        statistic = "Sum", above = 5, minutes = 3, dimensions = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.function[f].arn_suffix }
      }
    },
    merge([
      for i in range(length(local.redis_members)) : {
        "redis-${i + 1}-cpu" = {
          what      = "Redis is short of CPU, of which one core counts", namespace = "AWS/ElastiCache", metric = "EngineCPUUtilization"
          statistic = "Average", above = 75, minutes = 5, dimensions = { CacheClusterId = local.redis_members[i] }
        }
        "redis-${i + 1}-memory" = {
          what      = "Redis is nearly full; full, it refuses every write", namespace = "AWS/ElastiCache", metric = "DatabaseMemoryUsagePercentage"
          statistic = "Maximum", above = 75, minutes = 5, dimensions = { CacheClusterId = local.redis_members[i] }
        }
      }
    ]...),
  )

  # ElastiCache numbers the members of a replication group.
  redis_members = flatten([
    for shard in range(var.redis_cluster_mode ? var.redis_shards : 1) : [
      for i in range(1 + var.redis_replicas) : format("%s%s-%03d",
      aws_elasticache_replication_group.this.replication_group_id, var.redis_cluster_mode ? format("-%04d", shard + 1) : "", i + 1)
    ]
  ])
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "Fleetwire: ${each.value.what}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 60
  evaluation_periods  = each.value.minutes
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags
}

# The balancer refuses every device while this lasts. Without any target it
# reports no number, so here no data is an alarm too.
resource "aws_cloudwatch_metric_alarm" "no_node" {
  count               = local.run_nodes
  alarm_name          = "${var.name}-nodes-none"
  alarm_description   = "Fleetwire: no node at all is healthy"
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HealthyHostCount"
  dimensions          = local.node_dimension
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 2
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags
}
