# The real provider with keys that are none: it checks what a mock does not (ARNs,
# names, lengths, what may stand beside what), and asks AWS for nothing.

provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "111122223333" }
}

override_data {
  target = data.aws_availability_zones.available[0]
  values = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
}

override_data {
  target = data.aws_vpc.existing[0]
  values = { cidr_block_associations = [{ association_id = "vpc-cidr-assoc-1", cidr_block = "10.7.0.0/16", state = "associated" }] }
}

variables {
  domain_name   = "realtime.example.com"
  functions_dir = "./tests/zips"
}

run "defaults" {
  command = plan

  variables {
    zone_id                 = "Z0123456789ABCDEFGHIJ"
    image_tag               = "v1.0.0"
    flow_log_retention_days = 30
  }

  assert {
    condition     = data.aws_region.current.name == "eu-central-1" && data.aws_partition.current.partition == "aws"
    error_message = "Region and partition come from the provider."
  }

  # The certificate's proof is known before it is made only to the real provider.
  assert {
    condition     = aws_acm_certificate.this[0].domain_name == "realtime.example.com" && length(aws_route53_record.validation) == 1
    error_message = "One certificate, proved by one record."
  }
}

run "first_apply" {
  command = plan

  variables {
    zone_id = "Z0123456789ABCDEFGHIJ"
  }

  assert {
    condition     = length(aws_ecs_service.nodes) == 0
    error_message = "There is no image yet."
  }
}

run "everything_on" {
  command = plan

  variables {
    name                       = "fleet-twenty-letters"
    certificate_arn            = "arn:aws:acm:eu-central-1:111122223333:certificate/99999999-1111-2222-3333-444444444444"
    image_tag                  = "v1.0.0"
    waf_requests_per_5_minutes = 5000
    access_logs_bucket         = "my-logs"
    function_concurrency       = 50
    redis_replicas             = 5
    redis_cluster_mode         = true
    redis_shards               = 2
    kms_key_arn                = "arn:aws:kms:eu-central-1:111122223333:key/12345678-1111-2222-3333-444444444444"
    tags                       = { fleet = "one", "cost-center" = "realtime 7" }
    alarm_topic_arns           = ["arn:aws:sns:eu-central-1:111122223333:oncall"]
    existing_network = {
      vpc_id             = "vpc-0a1b2c3d"
      public_subnet_ids  = ["subnet-0a1b2c3d", "subnet-1a1b2c3d"]
      private_subnet_ids = ["subnet-2a1b2c3d", "subnet-3a1b2c3d"]
    }
  }

  # AWS: 32 characters. The provider counts them too; this names the longest.
  assert {
    condition     = max([for tg in aws_lb_target_group.function : length(tg.name)]...) <= 32
    error_message = "Target groups have names of at most 32 characters."
  }
}
