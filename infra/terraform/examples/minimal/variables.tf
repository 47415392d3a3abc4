variable "region" {
  description = "AWS region, such as eu-central-1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be an AWS region such as eu-central-1."
  }
}

variable "domain_name" {
  description = "The host name for sockets and REST, in the zone below."
  type        = string
}

variable "zone_id" {
  description = "The Route 53 zone that holds domain_name."
  type        = string
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
