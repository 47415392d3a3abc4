output "base_url" {
  description = "Where the REST control plane is."
  value       = module.fleetwire.base_url
}

output "websocket_url" {
  description = "Where sockets are opened."
  value       = module.fleetwire.websocket_url
}

output "alb_dns_name" {
  description = "What domain_name has to point at."
  value       = module.fleetwire.alb_dns_name
}

output "ecr_repository_url" {
  description = "Where the node's image is pushed."
  value       = module.fleetwire.ecr_repository_url
}

output "apps_secret_arn" {
  description = "The secret that the apps document is put into."
  value       = module.fleetwire.apps_secret_arn
}
