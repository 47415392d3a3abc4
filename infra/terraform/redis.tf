# One primary with replicas and no cluster mode: wildcard subscriptions are
# PSUBSCRIBE, which ElastiCache Serverless rejects.

resource "aws_elasticache_subnet_group" "this" {
  name       = var.name
  subnet_ids = local.private_subnet_ids
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-valkey8"
  family      = "valkey8"
  description = "Fleetwire: counters must not be evicted, nor nodes cut off that fall behind for a moment"

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  # 256 MB at once, or 64 MB for two minutes; the default is 32 and 8. A node
  # over it is disconnected and misses what is published until it is back.
  parameter {
    name  = "client-output-buffer-limit-pubsub-hard-limit"
    value = "268435456"
  }

  parameter {
    name  = "client-output-buffer-limit-pubsub-soft-limit"
    value = "67108864"
  }

  parameter {
    name  = "client-output-buffer-limit-pubsub-soft-seconds"
    value = "120"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id = var.name
  description          = "Fleetwire: messages under way, counters, leases"
  engine               = "valkey"
  engine_version       = "8.0"
  node_type            = var.redis_node_type
  port                 = local.redis_port
  parameter_group_name = aws_elasticache_parameter_group.this.name

  num_cache_clusters         = 1 + var.redis_replicas
  automatic_failover_enabled = true
  multi_az_enabled           = true

  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [aws_security_group.this["redis"].id]

  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  auth_token                 = local.redis_password
  auth_token_update_strategy = var.redis_password_strategy

  snapshot_retention_limit   = var.redis_snapshot_days
  auto_minor_version_upgrade = true
  # Otherwise a new password would wait for the maintenance window, and the
  # secret would name it before Redis knows it.
  apply_immediately = true
}
