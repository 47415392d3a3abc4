# A VPC of one's own, on a mocked apply.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  domain_name   = "realtime.example.com"
  functions_dir = "./tests/zips"
  image_tag     = "v1.0.0"
}

run "existing_network" {
  variables {
    # Not ours to log.
    flow_log_retention_days = 14

    zone_id         = null
    certificate_arn = "arn:aws:acm:eu-central-1:111122223333:certificate/99999999-1111-2222-3333-444444444444"
    existing_network = {
      vpc_id             = "vpc-0a1b2c3d"
      public_subnet_ids  = ["subnet-0a1b2c3d", "subnet-1a1b2c3d"]
      private_subnet_ids = ["subnet-2a1b2c3d", "subnet-3a1b2c3d"]
    }
  }

  assert {
    condition     = length(aws_vpc.this) + length(aws_subnet.public) + length(aws_subnet.private) + length(aws_nat_gateway.this) + length(aws_eip.nat) + length(aws_vpc_endpoint.s3) + length(aws_internet_gateway.this) + length(aws_flow_log.this) == 0
    error_message = "No network is made, and none is logged."
  }

  assert {
    condition     = aws_lb.this.subnets == toset(["subnet-0a1b2c3d", "subnet-1a1b2c3d"]) && one(aws_ecs_service.nodes[0].network_configuration).subnets == toset(["subnet-2a1b2c3d", "subnet-3a1b2c3d"]) && aws_elasticache_subnet_group.this.subnet_ids == toset(["subnet-2a1b2c3d", "subnet-3a1b2c3d"])
    error_message = "The balancer stands in the public subnets given, all else in the private ones."
  }

  assert {
    condition     = alltrue([for g in aws_security_group.this : g.vpc_id == "vpc-0a1b2c3d"]) && aws_lb_target_group.nodes.vpc_id == "vpc-0a1b2c3d"
    error_message = "All is in the VPC given."
  }

  # Every network of the VPC: the balancer may stand in any.
  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.nodes[0].container_definitions)[0].environment : e.name => e.value }["FLEETWIRE_TRUSTED_PROXIES"] == "10.7.0.0/16,100.64.0.0/20"
    error_message = "X-Forwarded-For is believed from every network of the VPC given."
  }

  assert {
    condition     = length(aws_acm_certificate.this) == 0 && length(aws_route53_record.this) == 0 && aws_lb_listener.https.certificate_arn == var.certificate_arn
    error_message = "The certificate given is used, and DNS is left alone."
  }
}
