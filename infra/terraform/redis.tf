# One primary with replicas, or with redis_cluster_mode several. Not ElastiCache Serverless:
# it rejects PSUBSCRIBE, and may evict counters.

resource "aws_elasticache_subnet_group" "this" {
  name       = var.name
  subnet_ids = local.private_subnet_ids
  tags       = var.tags
}

locals {
  parameters_family      = "valkey8"
  parameters_description = "Fleetwire: counters must not be evicted, nor nodes cut off that fall behind for a moment${var.redis_cluster_mode ? "; cluster mode" : ""}"
  # The configuration endpoint is an address of any node of the cluster, which names the others.
  redis_endpoint = var.redis_cluster_mode ? aws_elasticache_replication_group.this.configuration_endpoint_address : aws_elasticache_replication_group.this.primary_endpoint_address
}

resource "aws_elasticache_parameter_group" "this" {
  # The provider has no name_prefix here. Another family or description is a new
  # group that stands beside the old one for a moment, so it needs another name.
  name        = "${var.name}-${local.parameters_family}-${substr(sha256(local.parameters_description), 0, 8)}"
  family      = local.parameters_family
  description = local.parameters_description
  tags        = var.tags

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

  dynamic "parameter" {
    for_each = var.redis_cluster_mode ? ["yes"] : []
    content {
      name  = "cluster-enabled"
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_replication_group" "this" {
  # AWS cannot make one primary a cluster in one step, so a plan shows that it makes a new one.
  replication_group_id = var.redis_cluster_mode ? "${var.name}-cluster" : var.name
  description          = "Fleetwire: messages under way, counters, leases"
  engine               = "valkey"
  engine_version       = "8.0"
  node_type            = var.redis_node_type
  port                 = local.redis_port
  parameter_group_name = aws_elasticache_parameter_group.this.name

  num_cache_clusters         = var.redis_cluster_mode ? null : 1 + var.redis_replicas
  num_node_groups            = var.redis_cluster_mode ? var.redis_shards : null
  replicas_per_node_group    = var.redis_cluster_mode ? var.redis_replicas : null
  automatic_failover_enabled = true
  multi_az_enabled           = true

  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [aws_security_group.this["redis"].id]

  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn
  auth_token                 = sensitive(aws_secretsmanager_secret_version.redis_password.secret_string)
  auth_token_update_strategy = var.redis_password_strategy

  snapshot_retention_limit = var.redis_snapshot_days
  # Taken when the group is deleted, by `terraform destroy` or by a change that
  # replaces it. A deployment that is made again gets another id, and so a name
  # that AWS has not kept a snapshot under.
  final_snapshot_identifier = "${var.name}-${var.redis_cluster_mode ? "cluster-" : ""}final-${substr(terraform_data.redis_password_version.id, 0, 8)}"

  # AWS installs minor versions, and with them security fixes, in the maintenance window.
  auto_minor_version_upgrade = true
  # Otherwise a new password would wait for the maintenance window, and the
  # secret would name it before Redis knows it.
  apply_immediately = true
  tags              = var.tags

  lifecycle {
    # The version at creation. AWS raises it, and to go back to what is written
    # above Terraform would delete Redis and make an empty one.
    ignore_changes = [engine_version]
  }
}
