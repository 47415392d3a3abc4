# A wrong variable ends the plan with a sentence that says what is allowed. Each of
# those in expect_failures must fail; many share a run, because a run takes a second.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  domain_name   = "realtime.example.com"
  zone_id       = "Z0123456789ABCDEFGHIJ"
  functions_dir = "./tests/zips"
  image_tag     = "v1.0.0"
}

run "wrong_values" {
  command = plan

  variables {
    name                       = "Fleet"
    domain_name                = "https://realtime.example.com"
    zone_id                    = "/hostedzone/Z0123456789ABCDEFGHIJ"
    image_tag                  = "latest"
    functions_dir              = "./tests"
    vpc_cidr                   = "10.40.0.0/24"
    availability_zones         = 1
    existing_network           = { vpc_id = "my-vpc", public_subnet_ids = ["subnet-0a1b2c3d", "subnet-1a1b2c3d"], private_subnet_ids = ["subnet-2a1b2c3d", "subnet-3a1b2c3d"] }
    allowed_cidrs              = ["::/0"]
    node_cpu                   = 1000
    connections_per_node       = 60000
    drain_seconds              = 3600
    function_architecture      = "amd64"
    function_memory            = 64
    function_concurrency       = 0
    redis_node_type            = "serverless"
    redis_replicas             = 0
    redis_password_version     = 1.5
    redis_password_strategy    = "DELETE"
    redis_snapshot_days        = 36
    log_retention_days         = 31
    alarm_topic_arns           = ["oncall"]
    access_logs_bucket         = "arn:aws:s3:::my-logs"
    waf_requests_per_5_minutes = 10
    flow_log_retention_days    = 31
    kms_key_arn                = "alias/fleetwire"
    sink_queue_arns            = ["https://sqs.eu-central-1.amazonaws.com/111122223333/fleet-events"]
    sink_stream_arns           = ["fleet-events"]
    sink_secret_arns           = ["crm"]
    sink_kms_key_arns          = ["alias/fleetwire"]
    sink_networks              = ["crm.internal"]
    sink_egress                = [{ cidr = "10.20.0.0/16", port = 443 }]
    tags                       = { "aws:fleet" = "one" }
  }

  expect_failures = [
    var.name,
    var.domain_name,
    var.zone_id,
    var.image_tag,
    var.functions_dir,
    var.vpc_cidr,
    var.availability_zones,
    var.existing_network,
    var.allowed_cidrs,
    var.node_cpu,
    var.connections_per_node,
    var.drain_seconds,
    var.function_architecture,
    var.function_memory,
    var.function_concurrency,
    var.redis_node_type,
    var.redis_replicas,
    var.redis_password_version,
    var.redis_password_strategy,
    var.redis_snapshot_days,
    var.log_retention_days,
    var.alarm_topic_arns,
    var.access_logs_bucket,
    var.waf_requests_per_5_minutes,
    var.flow_log_retention_days,
    var.kms_key_arn,
    var.sink_queue_arns,
    var.sink_stream_arns,
    var.sink_secret_arns,
    var.sink_kms_key_arns,
    var.sink_networks,
    var.sink_egress,
    var.tags,
  ]
}

run "more_wrong_values" {
  command = plan

  variables {
    redis_shards         = 0
    certificate_arn      = "realtime.example.com"
    name                 = "fleet-wire-production"
    domain_name          = "localhost"
    image_tag            = "fleetwire/fanout:v1"
    vpc_cidr             = "10.40.0.0"
    existing_network     = { vpc_id = "vpc-0a1b2c3d", public_subnet_ids = ["subnet-0a1b2c3d", "subnet-0a1b2c3d"], private_subnet_ids = ["subnet-2a1b2c3d", "subnet-3a1b2c3d"] }
    allowed_cidrs        = []
    connections_per_node = 50
    drain_seconds        = 10
    sink_queue_arns      = ["arn:aws:sqs:eu-central-1:111122223333:*"]
    sink_egress          = [{ cidr = "10.20.0.0/16", port = 9094 }, { cidr = "10.20.0.0/16", port = 9094 }]
  }

  expect_failures = [
    var.redis_shards,
    var.certificate_arn,
    var.name,
    var.domain_name,
    var.image_tag,
    var.vpc_cidr,
    var.existing_network,
    var.allowed_cidrs,
    var.connections_per_node,
    var.drain_seconds,
    var.sink_queue_arns,
    var.sink_egress,
  ]
}

run "still_more_wrong_values" {
  command = plan

  variables {
    name = "fleet-"
    tags = { fleet = "one;two" }
  }

  expect_failures = [
    var.name,
    var.tags,
  ]
}

# Those that are held against another variable.
run "more_redis_nodes_than_aws_allows" {
  command = plan

  variables {
    redis_cluster_mode = true
    redis_shards       = 84
    redis_replicas     = 5
  }

  expect_failures = [var.redis_shards]
}

run "zone_id_without_a_certificate" {
  command = plan

  variables {
    zone_id = null
  }

  expect_failures = [
    var.zone_id,
  ]
}

run "node_memory_above_what_the_cpu_takes" {
  command = plan

  variables {
    node_memory = 32768
  }

  expect_failures = [
    var.node_memory,
  ]
}

run "node_memory_between_steps" {
  command = plan

  variables {
    node_memory = 4000
  }

  expect_failures = [
    var.node_memory,
  ]
}

run "nodes_min_one" {
  command = plan

  variables {
    nodes_min = 1
  }

  expect_failures = [
    var.nodes_min,
  ]
}

run "nodes_max_below_nodes_min" {
  command = plan

  variables {
    nodes_max = 1
  }

  expect_failures = [
    var.nodes_max,
  ]
}
