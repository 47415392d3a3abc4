variable "region" {
  description = "AWS region, such as eu-central-1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be an AWS region such as eu-central-1."
  }
}

variable "domain_name" {
  description = "The host name for sockets and REST."
  type        = string
}

variable "certificate_arn" {
  description = "An issued ACM certificate for domain_name."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "public_subnet_ids" {
  description = "At least two public subnets, for the balancer."
  type        = list(string)
}

variable "private_subnet_ids" {
  description = "At least two private subnets with a way out to AWS's APIs."
  type        = list(string)
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms are sent to."
  type        = list(string)
  default     = []
}

variable "functions_dir" {
  description = "Where `make package` put the functions, seen from here."
  type        = string
  default     = "../../../../dist"
}

variable "image_tag" {
  description = "Tag of the node's image; null at the first apply."
  type        = string
  default     = null
}
