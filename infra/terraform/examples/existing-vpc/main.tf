# Fleetwire in a VPC that is there already, with a certificate and a DNS zone
# that are kept elsewhere, sized for about 100,000 connections.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 6.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { project = "fleetwire" }
  }
}

module "fleetwire" {
  source = "../.."

  name            = "fleet-prod"
  domain_name     = var.domain_name
  certificate_arn = var.certificate_arn
  functions_dir   = var.functions_dir
  image_tag       = var.image_tag

  existing_network = {
    vpc_id             = var.vpc_id
    public_subnet_ids  = var.public_subnet_ids
    private_subnet_ids = var.private_subnet_ids
  }

  nodes_min                  = 6
  nodes_max                  = 12
  redis_node_type            = "cache.m7g.large"
  redis_replicas             = 2
  waf_requests_per_5_minutes = 20000
  alarm_topic_arns           = var.alarm_topic_arns
}
