# Fleetwire in a network of its own, small: for a trial or a fleet of a few
# thousand devices. docs/deploy-aws.md goes through it step by step.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 6.0"
    }
  }

  # The state holds the Redis password: keep it in a bucket that is encrypted and
  # that few may read, as in
  #   backend "s3" {
  #     bucket       = "my-terraform-state"
  #     key          = "fleetwire"
  #     region       = "eu-central-1"
  #     encrypt      = true
  #     use_lockfile = true
  #   }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { project = "fleetwire" }
  }
}

module "fleetwire" {
  source = "../.."

  domain_name   = var.domain_name
  zone_id       = var.zone_id
  functions_dir = var.functions_dir
  image_tag     = var.image_tag

  node_cpu             = 512
  node_memory          = 1024
  connections_per_node = 5000
  nodes_max            = 4
  redis_node_type      = "cache.t4g.small"
}
