output "base_url" {
  description = "Where the REST control plane is."
  value       = "https://${var.domain_name}"
}

output "websocket_url" {
  description = "Where sockets are opened."
  value       = "wss://${var.domain_name}${local.socket_paths[0]}"
}

output "alb_dns_name" {
  description = "The balancer's own name, for a DNS record (CNAME or alias) made elsewhere."
  value       = aws_lb.this.dns_name
}

output "ecr_repository_url" {
  description = "Where the node's image is pushed."
  value       = aws_ecr_repository.nodes.repository_url
}

output "ecs_cluster_name" {
  description = "The cluster of the nodes."
  value       = aws_ecs_cluster.this.name
}

output "ecs_service_name" {
  description = "The service of the nodes; null while image_tag is."
  value       = one(aws_ecs_service.nodes[*].name)
}

output "function_names" {
  description = "The Lambda functions by their folders in functions/."
  value       = { for f in local.function_names : f => aws_lambda_function.this[f].function_name }
}

output "apps_secret_arn" {
  description = "The secret that the apps document is put into."
  value       = aws_secretsmanager_secret.apps.arn
}

output "redis_endpoint" {
  description = "Host and port of the Redis primary, or of the cluster, reachable inside the network alone."
  value       = "${local.redis_endpoint}:${local.redis_port}"
}

output "log_groups" {
  description = "Log groups of the nodes, of each function, and of the network's flows where they are logged."
  value = merge(
    { nodes = aws_cloudwatch_log_group.nodes.name },
    { for f in local.function_names : f => aws_cloudwatch_log_group.function[f].name },
    { for g in aws_cloudwatch_log_group.flows : "flows" => g.name },
  )
}

output "nodes_security_group_id" {
  description = "The nodes' security group: let a Prometheus of yours in on port 8081 for /metrics."
  value       = aws_security_group.this["nodes"].id
}
